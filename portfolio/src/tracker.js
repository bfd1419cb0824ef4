/**
 * Keeps `Pending` true to the database: by the writes that are seen, here and in other tabs, and
 * by scans, in short turns, of what can't be seen. A scan follows an unseen write, what a person
 * does where writes can't be seen, and each question to the server for the base.
 */

import { KEY_PATHS } from './categories.js';
import { readBatches, readRecords } from './records.js';
import { entryOf } from './serialize.js';
import { queue, turns } from './turns.js';

/** @import { Client, Entry, Reference, Write } from './types.js' */

const AT_ONCE = 20; // how long what a transaction wrote is read at its completion, in milliseconds
const AFTER_WRITE = 100; // from an unseen write to a scan, in milliseconds; writes come in bursts

/** From something a person did: it may have led to a write through another connection. */
const AFTER_ACTIVITY = 2000;
const SCAN_SHARE = 10; // a scan may take at most one part in so many of the time
const SCANS = 3; // how often a scan starts over because something was written unseen during it

export class Tracker {
  #inOrder = queue();
  /** @type {{timer: ReturnType<typeof setTimeout>, at: number} | null} */
  #scheduled = null;
  /** Before this moment of `performance.now()` no scan runs by itself. */
  #restUntil = 0;
  /** @type {unknown} why the last scan failed; null after a scan that succeeded */
  failure = null;

  /** @param {Client} client */
  constructor(client) {
    this.client = client;
  }

  /** @param {AbortSignal} signal ends it when it aborts */
  start(signal) {
    const { pending, stores } = this.client;
    pending.invalidate();
    for (const type of ['pointerup', 'keyup', 'change', 'drop']) {
      const listener = () => stores.shared || this.#schedule(AFTER_ACTIVITY);
      window.addEventListener(type, listener, { signal, capture: true, passive: true });
    }
  }

  /** Whether something may have been written that nobody has seen yet. */
  get scanIsDue() {
    return this.#scheduled !== null || this.client.pending.isScanning;
  }

  /** Says that something was written unseen. */
  invalidate() {
    this.client.pending.invalidate();
    this.#schedule(AFTER_WRITE);
  }

  /** @param {Write[]} writes of a transaction that has completed; many are left to a scan */
  track(writes) {
    const end = performance.now() + AT_ONCE;
    for (const { category, key, record } of writes) {
      if (performance.now() > end) return this.invalidate();
      this.client.pending.track(entryOf(category, key, record));
    }
  }

  /** @param {Reference[]} references records that another tab wrote */
  async reread(references) {
    const records = await readRecords(this.client.stores, references);
    this.track(references.map((reference, index) => ({ ...reference, record: records[index] })));
  }

  /** @param {{scan?: boolean}} [options] `scan`: also if everything that was written was seen */
  async upToDate({ scan = false } = {}) {
    const { pending, stores, isWatched } = this.client;
    await this.#inOrder(() => {});
    if (!scan && isWatched && !this.#scheduled && stores.shared && pending.complete) return;
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
  scan(options) {
    return this.#inOrder(async () => {
      const { client } = this;
      try {
        await client.load();
        let found = await this.#readAll(options);
        for (let left = SCANS - 1; left > 0 && !client.pending.complete; left -= 1) {
          found = await this.#readAll(options);
        }
        this.failure = null;
        return found;
      } catch (error) {
        this.failure = error;
        throw error;
      } finally {
        if (!client.pending.complete && !this.failure) this.#schedule(AFTER_WRITE);
        client.show();
      }
    });
  }

  /** @param {{keep?: boolean}} [options] */
  async #readAll(options) {
    const { pending, stores } = this.client;
    pending.beginScan(options);
    const turn = turns();
    for await (const { category, records } of readBatches(stores)) {
      for (const record of records) {
        pending.see(entryOf(category, record[KEY_PATHS[category]], record));
        await turn();
      }
    }
    return pending.endScan();
  }

  /** @param {number} delay */
  #schedule(delay) {
    if (!this.client.isWatched) return;
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
