/**
 * What the client itself remembers, in a database of its own, `eoe-cloud-backup`.
 *
 * `acknowledged`: for each record, by name, the digest that the server has and since when.
 * `facts`: `last`, the last acknowledged backup; `pending`, the key of the state that may have
 * been sent without an answer (only of the newest: a state that comes back after another one is
 * another backup, or the newest backup would not be what is stored here); `undo`, what the last
 * restore replaced.
 */

import { openDB } from 'idb';

import { BackupError, messageOf } from './errors.js';
import { complete } from './transaction.js';

/** @typedef {import('./database.js').Change} Change */
/** @typedef {import('./serialize.js').State} State */
/** @typedef {import('./transport.js').Receipt} Receipt */

/** @typedef {{digest: string, since: string}} Acknowledged `since`: the server's ISO time */

/** @typedef {{key: string, digest: string, clientTimestamp: string}} Pending */

/** @typedef {{receipt: Receipt, digest: string, at: number}} Last `at`: this clock, in ms */

/**
 * @typedef {object} Undo
 * @property {string} backupId what was restored
 * @property {string} restoredAt ISO 8601
 * @property {string | null} lastId the last acknowledged backup at that time
 * @property {Change[]} changes that bring back the state before
 * @property {[string, Acknowledged | null][]} acknowledged what was known before, by record name
 */

const DATABASE = 'eoe-cloud-backup';

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

/** @returns {Promise<Map<string, Acknowledged>>} by record name */
export function acknowledged() {
  return transact(['acknowledged'], 'readonly', async (records) => {
    const [names, values] = await Promise.all([records.getAllKeys(), records.getAll()]);
    return new Map(names.map((/** @type {any} */ name, /** @type {number} */ index) => {
      return [String(name), values[index]];
    }));
  });
}

/** @returns {Promise<Last | undefined>} */
export function last() {
  return transact(['facts'], 'readonly', (facts) => facts.get('last'));
}

/**
 * The key under which this state is, or was, sent: on disk before it is used, and the same one
 * for the same state until that is acknowledged or another state takes its place.
 *
 * @param {string} digest of the state
 * @returns {Promise<Pending>}
 */
export function pendingFor(digest) {
  return transact(['facts'], 'readwrite', async (facts) => {
    /** @type {Pending} */
    let pending = await facts.get('pending');
    if (pending?.digest !== digest) {
      pending = { key: randomKey(), digest, clientTimestamp: new Date().toISOString() };
      await facts.put(pending, 'pending');
    }
    return pending;
  });
}

/**
 * Remembers that the server has all of a state and nothing else that was remembered.
 *
 * @param {State} state
 * @param {string} key it was sent under
 * @param {Receipt} receipt
 */
export function acknowledge(state, key, receipt) {
  return transact(['acknowledged', 'facts'], 'readwrite', async (records, facts) => {
    const [names, values] = await Promise.all([records.getAllKeys(), records.getAll()]);
    const known = new Map();
    for (const [index, name] of names.entries()) known.set(name, values[index].digest);
    for (const { name, digest } of state.entries) {
      if (known.get(name) !== digest) await records.put({ digest, since: receipt.timestamp }, name);
      known.delete(name);
    }
    for (const gone of known.keys()) await records.delete(gone);
    await facts.put({ receipt, digest: state.digest, at: Date.now() }, 'last');
    if ((await facts.get('pending'))?.key === key) await facts.delete('pending');
  });
}

/**
 * @param {[string, Acknowledged | null][]} changes by record name; null forgets
 */
export function remember(changes) {
  return transact(['acknowledged'], 'readwrite', async (records) => {
    for (const [name, known] of changes) {
      if (known) await records.put(known, name);
      else await records.delete(name);
    }
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
    for (const name of await records.getAllKeys()) {
      await records.put({ digest: 'deleted', since: new Date(0).toISOString() }, name);
    }
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

/** 128 random bits: `crypto.randomUUID` is missing on plain-http hosts. */
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
