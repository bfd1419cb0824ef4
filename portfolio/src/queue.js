/**
 * One run after the other.
 */

/** @import { Receipt, Task } from './types.js' */

export class Queue {
  #last = Promise.resolve();
  /** @type {Map<string, Promise<Receipt | null>>} runs that another call can join, by their task */
  #joinable = new Map();

  /** @param {(task: Task) => Promise<Receipt | null>} work */
  constructor(work) {
    this.work = work;
  }

  /**
   * The same task is not asked for twice while it waits; everything not while it runs, either.
   *
   * @param {Task} task @returns {Promise<Receipt | null>}
   */
  run(task) {
    const name = JSON.stringify(task);
    const joined = this.#joinable.get(name);
    if (joined) return joined;
    const ended = this.#last.then(() => {
      if (!task.everything) this.#joinable.delete(name);
      return this.work(task);
    });
    this.#joinable.set(name, ended);
    const end = () => void (task.everything && this.#joinable.delete(name));
    this.#last = ended.then(end, end);
    return ended;
  }
}
