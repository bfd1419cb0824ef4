/**
 * Work that waits for its turn: long work in short pieces, between which the page gets its own, and
 * one run after the other.
 */

/** @import { Receipt, Task } from './types.js' */

const TURN = 12; // how long a piece may take, in milliseconds

/**
 * @returns {() => Promise<void> | undefined} to be called, and awaited, between two small pieces
 * of work: it waits only when a turn is over
 */
export function turns() {
  let end = performance.now() + TURN;
  return () => {
    if (performance.now() < end) return undefined;
    return pause().then(() => {
      end = performance.now() + TURN;
    });
  };
}

/** @returns {Promise<void>} */
function pause() {
  // A timer waits for a second and more in a hidden tab; this doesn't.
  const { scheduler } = /** @type {any} */ (globalThis);
  return scheduler?.yield ? scheduler.yield() : new Promise((resolve) => setTimeout(resolve));
}

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
