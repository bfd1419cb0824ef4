/**
 * Keeps `Pending` true to what is stored: by the writes that are seen, here and in other tabs, and
 * by scans, in short turns, after what can't be seen. Nothing runs while nothing happens: it
 * follows a write, or, where writes can't be seen, what a person does.
 */

import { KEY_PATHS } from './categories.js';
import { readBatches, readRecords } from './records.js';
import { entryOf } from './serialize.js';
import { turns } from './turns.js';

/** @import { Entry, Pending, Reference, Stores, Write } from './types.js' */

const AT_ONCE = 20; // how long what a transaction wrote is read at its completion, in milliseconds
const AFTER_WRITE = 100; // from an unseen write to a scan, in milliseconds; writes come in bursts

/** From something a person did: it may have led to a write through another connection. */
const AFTER_ACTIVITY = 2000;
const SCAN_SHARE = 10; // a scan may take at most one part in so many of the time
const SCANS = 3; // how often a scan starts over because something was written unseen during it

export class Tracker {
  /** Scans follow one another. */
  #last = Promise.resolve();
  /** @type {{timer: ReturnType<typeof setTimeout>, at: number} | null} */
  #scheduled = null;
  /** Before this moment of `performance.now()` no scan runs by itself. */
  #restUntil = 0;
  #active = false;
  /** @type {unknown} why the last scan failed; null after one that did not */
  failure = null;

  /**
   * @param {Pending} pending @param {Stores} stores
   * @param {() => Promise<void>} load resolves when `pending` knows its base
   * @param {() => void} changed called when what is pending may have changed
   */
  constructor(pending, stores, load, changed) {
    this.pending = pending;
    this.stores = stores;
    this.load = load;
    this.changed = changed;
  }

  /** @param {AbortSignal} signal when it aborts, scans no longer follow by themselves */
  start(signal) {
    this.#active = true;
    this.pending.invalidate();
    for (const type of ['pointerup', 'keyup', 'change', 'drop']) {
      const listener = () => this.stores.shared || this.#schedule(AFTER_ACTIVITY);
      window.addEventListener(type, listener, { signal, capture: true, passive: true });
    }
    signal.addEventListener('abort', () => {
      this.#active = false;
      this.#unschedule();
    });
  }

  /** Whether something may have been written that nobody has seen. */
  get scanIsDue() {
    return this.#scheduled !== null;
  }

  /** Says that something was written unseen. */
  invalidate() {
    this.pending.invalidate();
    this.#schedule(AFTER_WRITE);
  }

  /** @param {Write[]} writes of a transaction that has completed; many are left to a scan */
  take(writes) {
    const end = performance.now() + AT_ONCE;
    const count = writes.findIndex(({ category, key, record }) => {
      this.pending.track(entryOf(category, key, record));
      return performance.now() > end;
    });
    if (count >= 0 && count < writes.length - 1) this.invalidate();
    this.changed();
  }

  /** @param {Reference[]} references records that another tab wrote */
  async reread(references) {
    const records = await readRecords(this.stores, references);
    this.take(references.map((reference, index) => ({ ...reference, record: records[index] })));
  }

  /**
   * Scans, unless everything that was written has been seen.
   *
   * @throws {import('./errors.js').BackupError}
   */
  async upToDate() {
    await this.#last;
    const seen = this.#active && !this.#scheduled && this.stores.shared;
    if (seen && this.pending.complete) return;
    this.#unschedule();
    const start = performance.now();
    await this.scan();
    const end = performance.now();
    this.#restUntil = end + (end - start) * SCAN_SHARE;
  }

  /**
   * Reads everything that is stored.
   *
   * @param {{keep?: boolean}} [options] `keep`: the text also of what is in the base
   * @returns {Promise<Entry[]>} as of the moment when this resolves
   * @throws {import('./errors.js').BackupError} when it can't be read
   */
  scan({ keep = false } = {}) {
    const ended = this.#last.then(() => this.#scanUntilSure(keep));
    this.#last = ended.then(() => {}, () => {});
    return ended;
  }

  /** @param {boolean} keep @returns {Promise<Entry[]>} */
  async #scanUntilSure(keep) {
    const { pending } = this;
    try {
      await this.load();
      for (let left = SCANS; ; left -= 1) {
        pending.beginScan({ keep });
        const turn = turns();
        await readBatches(this.stores, async (category, records) => {
          for (const record of records) {
            pending.see(entryOf(category, record[KEY_PATHS[category]], record));
            await turn();
          }
        });
        const found = pending.endScan();
        this.failure = null;
        if (pending.complete || left === 1) return found;
      }
    } catch (error) {
      this.failure = error;
      throw error;
    } finally {
      if (!pending.complete && !this.failure) this.#schedule(AFTER_WRITE);
      this.changed();
    }
  }

  /** @param {number} delay */
  #schedule(delay) {
    if (!this.#active) return;
    const at = Math.max(performance.now() + delay, this.#restUntil);
    if (this.#scheduled && this.#scheduled.at <= at) return;
    this.#unschedule();
    const timer = setTimeout(() => this.upToDate().catch(() => {}), at - performance.now());
    this.#scheduled = { at, timer };
  }

  #unschedule() {
    clearTimeout(this.#scheduled?.timer);
    this.#scheduled = null;
  }
}
