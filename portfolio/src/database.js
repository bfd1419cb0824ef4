/**
 * The host application's database `eoe-atoms`: reading, marking, changing.
 *
 * The host makes it and gives it its version; nothing here ever creates or upgrades it.
 */

import { unwrap, wrap } from 'idb';

import { CATEGORIES, FLAGGED, KEY_PATHS, recordName } from './categories.js';
import { BackupError, messageOf } from './errors.js';
import { digestOf } from './serialize.js';
import { currentSettings, onConfigure } from './settings.js';
import { complete } from './transaction.js';
import { watchWrites } from './writes.js';

/** @typedef {import('./categories.js').Category} Category */
/** @typedef {import('./categories.js').StoredRecord} StoredRecord */
/** @typedef {import('./writes.js').Listener} WriteListener */
/** @typedef {import('idb').IDBPDatabase} Database */

/**
 * @typedef {object} Change One record to write or delete, if it is still what it was.
 * @property {Category} category
 * @property {IDBValidKey} key
 * @property {string | null} expected the digest of what is stored, null where nothing is
 * @property {StoredRecord | null} record what to store, null to delete
 */

/** @typedef {{category: Category, key: IDBValidKey}} Reference */

/** Somebody wrote to a record between the plan and its execution. */
export class ChangedMeanwhile extends Error {}

export const DATABASE = 'eoe-atoms';

/** The most records that are read, or written, at a time. */
const BATCH = 256;

/** How long reading a batch may take, in milliseconds. */
const BATCH_TIME = 12;

/** @type {Promise<Database> | null} */
let connection = null;

/** @type {(() => Promise<any>) | undefined} whose `connection` is */
let connectedBy;

/** @type {IDBDatabase | null} what is connected */
let current = null;

/** Whether that is the one connection which the host writes through, too. */
let shared = false;

/** @type {WriteListener} */
let writeListener = () => {};

onConfigure(({ getDB }) => {
  if (getDB !== connectedBy) disconnect();
});

/**
 * @param {WriteListener} listener called for what is written through the host's connection; when
 *   that is lost, or another one is configured, as for an unseen write
 */
export function onWrites(listener) {
  writeListener = listener;
}

/** @returns {boolean} whether what the host writes is seen; known once something was read */
export function seesWrites() {
  return shared;
}

/**
 * All records of the five stores, as of one moment.
 *
 * @returns {Promise<Record<Category, StoredRecord[]>>}
 * @throws {BackupError} when any of the five reads fails
 */
export function readAll() {
  return transact(CATEGORIES, 'readonly', async (transaction) => {
    const read = await Promise.all(
      CATEGORIES.map((category) => transaction.objectStore(category).getAll()),
    );
    return /** @type {Record<Category, StoredRecord[]>} */ (
      Object.fromEntries(CATEGORIES.map((category, index) => [category, read[index]]))
    );
  });
}

/**
 * All records of the five stores, batch after batch. Where writes are seen, each is read on its
 * own, so that no write has to wait for long; else all are read at one moment.
 *
 * @param {(category: Category, records: StoredRecord[]) => Promise<void>} take
 * @throws {BackupError} when any read fails
 */
export async function readBatches(take) {
  const begun = await begin(CATEGORIES, 'readonly');
  if (!shared) {
    /** @type {[Category, StoredRecord[]][]} */
    const batches = [];
    const keep = async (/** @type {[Category, StoredRecord[]]} */ ...batch) => {
      batches.push(batch);
    };
    await run(begun, () => inBatches((_category, read) => read(begun), keep));
    for (const batch of batches) await take(...batch);
  } else {
    await run(begun, async () => {});
    await inBatches((category, read) => transact([category], 'readonly', read), take);
  }
}

/**
 * @param {(category: Category, read: (transaction: any) => Promise<StoredRecord[]>) =>
 *   Promise<StoredRecord[]>} within
 * @param {(category: Category, records: StoredRecord[]) => Promise<void>} take
 */
async function inBatches(within, take) {
  let size = 1;
  for (const category of CATEGORIES) {
    for (let range = null; ; ) {
      const start = performance.now();
      const [from, count] = [range, size];
      const records = await within(category, (transaction) =>
        transaction.objectStore(category).getAll(from, count),
      );
      const quick = performance.now() - start < BATCH_TIME;
      await take(category, records);
      if (records.length < count) break;
      range = IDBKeyRange.lowerBound(records[count - 1][KEY_PATHS[category]], true);
      size = quick ? Math.min(2 * size, BATCH) : Math.ceil(size / 2);
    }
  }
}

/**
 * @param {Reference[]} references
 * @returns {Promise<(StoredRecord | null)[]>} what is stored under each, as of one moment
 */
export function readRecords(references) {
  return transact(CATEGORIES, 'readonly', (transaction) =>
    Promise.all(
      references.map(async ({ category, key }) => {
        return (await transaction.objectStore(category).get(key)) ?? null;
      }),
    ),
  );
}

/**
 * Sets `synced` on each of these records whose content is still the acknowledged one.
 *
 * @param {(Reference & {digest: string | null})[]} acknowledged
 * @returns {Promise<number>} how many were set
 */
export async function markSynced(acknowledged) {
  const flagged = acknowledged.filter(({ category }) => FLAGGED.includes(category));
  let marked = 0;
  for (let start = 0; start < flagged.length; start += BATCH) {
    await transact(FLAGGED, 'readwrite', async (transaction) => {
      for (const { category, key, digest } of flagged.slice(start, start + BATCH)) {
        const store = transaction.objectStore(category);
        const record = await store.get(key);
        if (!record || record.synced === true || digestOf(category, record) !== digest) continue;
        await store.put({ ...record, synced: true });
        marked += 1;
      }
    });
  }
  return marked;
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
  return run(await begin(stores, mode), work);
}

/**
 * @template T
 * @param {any} transaction
 * @param {(transaction: any) => Promise<T>} work
 * @returns {Promise<T>}
 */
async function run(transaction, work) {
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
    connection = null;
    if (error instanceof BackupError) throw error;
    throw new BackupError(`The database ${DATABASE} can't be used: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function disconnect() {
  connection = null;
  if (!current) return;
  current = null;
  writeListener([], true);
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
  connectedBy = getDB;
  const database = getDB ? await connectionOf(getDB) : await openExisting();
  // A host that opens a connection each time writes through others than this one.
  shared = getDB !== undefined && (await connectionOf(getDB)) === database;
  current = database;
  watchWrites(database, (writes, unseen) => {
    if (current === database) writeListener(writes, unseen);
  });
  const lose = () => {
    if (!getDB) database.close();
    if (current === database) disconnect();
  };
  database.addEventListener('versionchange', lose);
  database.addEventListener('close', lose);
  return wrap(database);
}

/**
 * @param {() => Promise<any>} getDB
 * @returns {Promise<IDBDatabase>}
 */
async function connectionOf(getDB) {
  const given = await getDB();
  // Ours or another copy's wrapping, or none: idb's wrap() takes each.
  return /** @type {IDBDatabase} */ (/** @type {unknown} */ (unwrap(given) ?? given));
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
