/** Reading, flagging and changing the records of the host's five stores. */

import { CATEGORIES, FLAGGED, KEY_PATHS, recordName } from './categories.js';
import { BackupError } from './errors.js';
import { digestOf } from './serialize.js';

/** @import { Category, Change, Reference, StoredRecord, Stores } from './types.js' */

const BATCH = 256; // the most records that are read, or written, at a time
const BATCH_TIME = 12; // how long reading a batch may take, in milliseconds

/**
 * Reads all records batch after batch, each on its own: no write has to wait for long.
 *
 * @param {Stores} stores
 * @returns {AsyncGenerator<{category: Category, records: StoredRecord[]}>}
 */
export async function* readBatches(stores) {
  let size = 1;
  for (const category of CATEGORIES) {
    for (let range = null; ; ) {
      const start = performance.now();
      const [from, count] = [range, size];
      const records = await stores.transact([category], 'readonly', (transaction) =>
        transaction.objectStore(category).getAll(from, count),
      );
      const quick = performance.now() - start < BATCH_TIME;
      yield { category, records };
      if (records.length < count) break;
      range = IDBKeyRange.lowerBound(records[count - 1][KEY_PATHS[category]], true);
      size = quick ? Math.min(2 * size, BATCH) : Math.ceil(size / 2);
    }
  }
}

/**
 * @param {Stores} stores @param {Reference[]} references
 * @returns {Promise<(StoredRecord | null)[]>} the record of each, as of one moment
 */
export function readRecords(stores, references) {
  return stores.transact(CATEGORIES, 'readonly', async (transaction) => {
    const read = references.map(({ category, key }) => transaction.objectStore(category).get(key));
    return (await Promise.all(read)).map((record) => record ?? null);
  });
}

/**
 * Sets or clears `synced` on each of these records whose content is still the same.
 *
 * @param {Stores} stores
 * @param {(Reference & {digest: string | null, flag: boolean | null})[]} entries
 * @returns {Promise<number>} how many were set
 */
export async function setFlags(stores, entries) {
  let marked = 0;
  for (let start = 0; start < entries.length; start += BATCH) {
    await stores.transact(FLAGGED, 'readwrite', async (transaction) => {
      for (const { category, key, digest, flag } of entries.slice(start, start + BATCH)) {
        const store = transaction.objectStore(category);
        const record = await store.get(key);
        if (!record || record.synced === flag || digestOf(category, record) !== digest) continue;
        await store.put({ ...record, synced: flag });
        marked += Number(flag);
      }
    });
  }
  return marked;
}

/**
 * Makes all the changes, or, if one can't be made, none. A voice note keeps its audio. One without
 * audio gets an empty `Blob`, since the application's list of notes makes an address of it.
 *
 * @param {Stores} stores @param {Change[]} changes
 * @throws {BackupError} also when a record is no longer what the change expects
 */
export function applyChanges(stores, changes) {
  return stores.transact(CATEGORIES, 'readwrite', async (transaction) => {
    for (const { category, key, expected, record } of changes) {
      const store = transaction.objectStore(category);
      const now = await store.get(key);
      const found = now === undefined ? null : digestOf(category, now);
      if (found !== expected) {
        const name = recordName(category, key);
        throw new BackupError(`${name} was changed during the restore: nothing was written`);
      }
      const audioBlob = now?.audioBlob ?? record?.audioBlob ?? new Blob([]);
      if (record === null) await store.delete(key);
      else await store.put(category === 'voiceNotes' ? { ...record, audioBlob } : record);
    }
  });
}
