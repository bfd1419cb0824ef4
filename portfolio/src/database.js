/**
 * The host application's database `eoe-atoms`: reading it whole, marking, changing.
 *
 * The host makes it and gives it its version; nothing here ever creates or upgrades it.
 */

import { unwrap, wrap } from 'idb';

import { CATEGORIES, FLAGGED, KEY_PATHS, recordName } from './categories.js';
import { BackupError, messageOf } from './errors.js';
import { digestOf } from './serialize.js';
import { currentSettings, onConfigure } from './settings.js';
import { complete } from './transaction.js';

/** @typedef {import('./categories.js').Category} Category */
/** @typedef {import('./categories.js').StoredRecord} StoredRecord */
/** @typedef {import('./serialize.js').Stores} Stores */
/** @typedef {import('idb').IDBPDatabase} Database */

/**
 * @typedef {object} Change One record to write or delete, if it is still what it was.
 * @property {Category} category
 * @property {IDBValidKey} key
 * @property {string | null} expected the digest of what is stored, null where nothing is
 * @property {StoredRecord | null} record what to store, null to delete
 */

/** Somebody wrote to a record between the plan and its execution. */
export class ChangedMeanwhile extends Error {}

export const DATABASE = 'eoe-atoms';

/** @type {Promise<Database> | null} */
let connection = null;

/** @type {Set<() => void>} */
const writeListeners = new Set();

onConfigure(() => {
  connection = null;
});

/**
 * @param {() => void} listener called after each commit through the connection of `getDB`
 * @returns {() => void} ends it
 */
export function onWrite(listener) {
  writeListeners.add(listener);
  return () => writeListeners.delete(listener);
}

/**
 * All records of the five stores, as of one moment.
 *
 * @returns {Promise<Stores>}
 * @throws {BackupError} when any of the five reads fails
 */
export function readAll() {
  return transact(CATEGORIES, 'readonly', async (transaction) => {
    const read = await Promise.all(
      CATEGORIES.map((category) => transaction.objectStore(category).getAll()),
    );
    return /** @type {Stores} */ (
      Object.fromEntries(CATEGORIES.map((category, index) => [category, read[index]]))
    );
  });
}

/**
 * Sets `synced` on each record whose content is the acknowledged one, in one transaction.
 *
 * @param {Map<string, {digest: string}>} acknowledged by record name
 * @returns {Promise<number>} how many were set
 */
export function markSynced(acknowledged) {
  return transact(FLAGGED, 'readwrite', async (transaction) => {
    let marked = 0;
    for (const category of FLAGGED) {
      const store = transaction.objectStore(category);
      for (const record of await store.getAll()) {
        const known = acknowledged.get(recordName(category, record[KEY_PATHS[category]]));
        if (record.synced === true || !known) continue;
        if (known.digest !== digestOf(category, record)) continue;
        await store.put({ ...record, synced: true });
        marked += 1;
      }
    }
    return marked;
  });
}

/**
 * Makes all the changes, or, if one can't be made, none. A voice note that is stored keeps the
 * audio it has at that moment.
 *
 * @param {Change[]} changes
 * @throws {ChangedMeanwhile} when a record is no longer what the change expects
 */
export function applyChanges(changes) {
  return transact(CATEGORIES, 'readwrite', async (transaction) => {
    for (const { category, key, expected, record } of changes) {
      const store = transaction.objectStore(category);
      const now = await store.get(key);
      const found = now === undefined ? null : digestOf(category, now);
      if (found !== expected) throw new ChangedMeanwhile(recordName(category, key));
      if (record === null) await store.delete(key);
      else await store.put(category === 'voiceNotes' ? withAudioOf(now, record) : record);
    }
  });
}

/**
 * @param {StoredRecord | undefined} stored
 * @param {StoredRecord} record
 */
function withAudioOf(stored, record) {
  return stored && 'audioBlob' in stored ? { ...record, audioBlob: stored.audioBlob } : record;
}

/**
 * @template T
 * @param {readonly Category[]} stores
 * @param {IDBTransactionMode} mode
 * @param {(transaction: any) => Promise<T>} work may await this transaction's requests only
 * @returns {Promise<T>} once the transaction is complete
 */
async function transact(stores, mode, work) {
  const transaction = await begin(stores, mode);
  try {
    return await complete(transaction, work);
  } catch (error) {
    if (error instanceof ChangedMeanwhile) throw error;
    throw new BackupError(`The database ${DATABASE} failed: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/**
 * @param {readonly Category[]} stores
 * @param {IDBTransactionMode} mode
 */
async function begin(stores, mode) {
  try {
    return (await connected()).transaction([...stores], mode);
  } catch (error) {
    if (error instanceof BackupError) throw error;
    // The host may have closed the connection, which no event tells: once more with a new one.
    connection = null;
  }
  try {
    return (await connected()).transaction([...stores], mode);
  } catch (error) {
    connection = null;
    if (error instanceof BackupError) throw error;
    throw new BackupError(`The database ${DATABASE} can't be used: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** @returns {Promise<Database>} */
function connected() {
  connection ??= connect().catch((error) => {
    connection = null;
    throw error;
  });
  return connection;
}

/** @returns {Promise<Database>} */
async function connect() {
  const { getDB } = currentSettings();
  const given = getDB ? await getDB() : await openExisting();
  // Ours or another copy's wrapping, or none: idb's wrap() takes each.
  const database = /** @type {IDBDatabase} */ (/** @type {unknown} */ (unwrap(given) ?? given));
  watch(database);
  const forget = () => {
    connection = null;
    if (!getDB) database.close();
  };
  database.addEventListener('versionchange', forget);
  database.addEventListener('close', forget);
  return wrap(database);
}

/** @returns {Promise<IDBDatabase>} */
function openExisting() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE);
    // Only asked for when there is no such database: aborting leaves it that way.
    request.onupgradeneeded = () => request.transaction?.abort();
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => {
      const message =
        request.error?.name === 'AbortError'
          ? `There is no database ${DATABASE} yet: the application has to open it first`
          : `The database ${DATABASE} can't be opened: ${request.error?.message}`;
      reject(new BackupError(message, { cause: request.error }));
    };
  });
}

const watched = new WeakSet();

/**
 * IndexedDB tells nobody of a write. The connection is the host's own, so its transactions are
 * where its writes can be seen: on this one object, not on the prototype that all share.
 *
 * @param {IDBDatabase} database
 */
function watch(database) {
  if (watched.has(database)) return;
  watched.add(database);
  const original = IDBDatabase.prototype.transaction;
  database.transaction = function transaction(...parameters) {
    const begun = original.apply(this, parameters);
    if (begun.mode !== 'readonly') {
      begun.addEventListener('complete', () => writeListeners.forEach((listener) => listener()));
    }
    return begun;
  };
}
