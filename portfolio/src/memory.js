/**
 * What the client itself remembers, in a database of its own, `eoe-cloud-backup`.
 *
 * What the server has somewhere and what the last backup holds are two things: a restored record
 * is on the server, and yet in no backup made from here. `acknowledged`, by record name: the
 * `digest` that the server has, `since` when, and, for what the last backup holds, that as
 * `inBase`. `facts`: `last`, the last acknowledged backup, which changes are sent against unless
 * the server refused it as a base; `forgotten`, the id of one that was deleted; `undo`, what the
 * last restore replaced.
 */

import { openDB } from 'idb';

import { BackupError, messageOf } from './errors.js';
import { complete } from './transaction.js';

/** @typedef {import('./database.js').Change} Change */
/** @typedef {import('./transport.js').Receipt} Receipt */

/**
 * @typedef {object} Acknowledged
 * @property {string} digest
 * @property {string} since the server's ISO time
 * @property {string} [inBase] the digest in the last backup, if that can be a base and has it
 */

/** @typedef {{receipt: Receipt, at: number, base?: boolean}} Last `at`: this clock, in ms */

/**
 * @typedef {object} Memory
 * @property {Map<string, Acknowledged>} known by record name
 * @property {Last | undefined} last
 * @property {string} after the last backup's id, also of one that is gone
 */

/**
 * @typedef {object} Undo
 * @property {string} backupId what was restored
 * @property {string} restoredAt ISO 8601
 * @property {string | null} lastId the last acknowledged backup at that time
 * @property {Change[]} changes that bring back the state before
 * @property {[string, Acknowledged | null][]} acknowledged what was known before, by record name
 */

const DATABASE = 'eoe-cloud-backup';

/** Entries that are read or written before the page gets a turn. */
const BATCH = 500;

const NOWHERE = { digest: 'nowhere', since: new Date(0).toISOString() };

/** @type {Promise<import('idb').IDBPDatabase> | null} */
let connection = null;

function memory() {
  connection ??= openDB(DATABASE, 1, {
    upgrade(database) {
      database.createObjectStore('acknowledged');
      database.createObjectStore('facts');
    },
    blocking(_current, _blocked, event) {
      /** @type {IDBDatabase} */ (event.target).close();
      connection = null;
    },
    terminated() {
      connection = null;
    },
  }).catch((error) => {
    connection = null;
    throw error;
  });
  return connection;
}

/**
 * @template T
 * @param {('acknowledged' | 'facts')[]} stores
 * @param {'readonly' | 'readwrite'} mode
 * @param {(...stores: any[]) => Promise<T>} work
 * @returns {Promise<T>} once the transaction is complete
 * @throws {BackupError} when it fails; then nothing of it was written
 */
async function transact(stores, mode, work) {
  try {
    const transaction = (await memory()).transaction(stores, mode);
    return await complete(transaction, () => work(...stores.map((s) => transaction.objectStore(s))));
  } catch (error) {
    throw new BackupError(`The client's own database ${DATABASE} failed: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** @returns {Promise<Memory>} all that is known, as of one moment */
export function recall() {
  return transact(['acknowledged', 'facts'], 'readonly', async (records, facts) => {
    const [last, forgotten] = await Promise.all([facts.get('last'), facts.get('forgotten')]);
    const known = new Map();
    for (let range = null; ; ) {
      const [names, values] = await Promise.all([
        records.getAllKeys(range, BATCH),
        records.getAll(range, BATCH),
      ]);
      for (const [index, { inBase, ...value }] of values.entries()) {
        known.set(names[index], last?.base && inBase ? { ...value, inBase } : value);
      }
      if (names.length < BATCH) break;
      range = IDBKeyRange.lowerBound(names.at(-1), true);
    }
    return { known, last, after: last?.receipt.id ?? forgotten ?? '' };
  });
}

/** @returns {Promise<Map<string, Acknowledged>>} by record name */
export async function acknowledged() {
  return (await recall()).known;
}

/** @returns {Promise<Last | undefined>} */
export function last() {
  return transact(['facts'], 'readonly', (facts) => facts.get('last'));
}

/**
 * Remembers that the server has these, and that its newest backup from here is the next base.
 *
 * @param {Map<string, Acknowledged | null>} entries by record name; null: no longer in the backup
 * @param {Last} next
 * @param {string | null} base what the backup was a change of; null if it holds these only
 * @returns {Promise<boolean>} false if another tab's backup has taken the base's place: then this
 *   one is not the next base, and what it holds is still on the server
 */
export function acknowledge(entries, next, base) {
  return transact(['acknowledged', 'facts'], 'readwrite', async (records, facts) => {
    const isNext = base === null || (await facts.get('last'))?.receipt.id === base;
    if (base === null) await records.clear();
    let count = 0;
    for (const [name, entry] of entries) {
      let written;
      if (isNext) written = entry ? records.put(entry, name) : records.delete(name);
      else if (entry) written = alter(records, name, entry);
      count += 1;
      if (count % BATCH === 0) await written;
    }
    if (isNext) await facts.put(next, 'last');
    return isNext;
  });
}

/** @param {[string, Acknowledged | null][]} changes by record name; null forgets */
export function remember(changes) {
  return transact(['acknowledged'], 'readwrite', async (records) => {
    for (const [name, entry] of changes) await alter(records, name, entry);
  });
}

/**
 * What the base holds stays as it is.
 *
 * @param {any} records
 * @param {string} name
 * @param {Acknowledged | null} entry
 */
async function alter(records, name, entry) {
  const { digest, since } = entry ?? NOWHERE;
  const inBase = (await records.get(name))?.inBase;
  if (inBase) return records.put({ digest, since, inBase }, name);
  return entry ? records.put({ digest, since }, name) : records.delete(name);
}

/** @param {string} id what the server refused as a base */
export function forgetBase(id) {
  return transact(['facts'], 'readwrite', async (facts) => {
    const known = await facts.get('last');
    if (known?.receipt.id === id) await facts.put({ ...known, base: false }, 'last');
  });
}

/**
 * If the last acknowledged backup is deleted, nothing is known to be on the server any more. The
 * names stay, with a digest that no record has, or the records' own flags would be believed.
 *
 * @param {string} id of the deleted backup
 */
export function forgetLast(id) {
  return transact(['acknowledged', 'facts'], 'readwrite', async (records, facts) => {
    if ((await facts.get('last'))?.receipt.id !== id) return;
    await facts.delete('last');
    await facts.put(id, 'forgotten');
    for (const name of await records.getAllKeys()) await records.put(NOWHERE, name);
  });
}

/** @returns {Promise<Undo | undefined>} */
export function undoState() {
  return transact(['facts'], 'readonly', (facts) => facts.get('undo'));
}

/** @param {Undo | undefined} undo undefined forgets */
export function keepUndoState(undo) {
  return transact(['facts'], 'readwrite', (facts) => {
    return undo ? facts.put(undo, 'undo') : facts.delete('undo');
  });
}
