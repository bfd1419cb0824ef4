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

/** @type {Promise<import('idb').IDBPDatabase> | null} */
let connection = null;

function memory() {
  connection ??= openDB('eoe-cloud-backup', 1, {
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

/** @returns {Promise<Map<string, Acknowledged>>} by record name */
export async function acknowledged() {
  const { store, done } = (await memory()).transaction('acknowledged');
  const [names, values] = await Promise.all([store.getAllKeys(), store.getAll()]);
  await done;
  return new Map(names.map((name, index) => [String(name), values[index]]));
}

/** @returns {Promise<Last | undefined>} */
export async function last() {
  return (await memory()).get('facts', 'last');
}

/**
 * The key under which this state is, or was, sent: on disk before it is used, and the same one
 * for the same state until that is acknowledged or another state takes its place.
 *
 * @param {string} digest of the state
 * @returns {Promise<Pending>}
 */
export async function pendingFor(digest) {
  const { store, done } = (await memory()).transaction('facts', 'readwrite');
  /** @type {Pending} */
  let pending = await store.get('pending');
  if (pending?.digest !== digest) {
    pending = { key: randomKey(), digest, clientTimestamp: new Date().toISOString() };
    await store.put(pending, 'pending');
  }
  await done;
  return pending;
}

/**
 * Remembers that the server has all of a state and nothing else that was remembered.
 *
 * @param {State} state
 * @param {string} key it was sent under
 * @param {Receipt} receipt
 */
export async function acknowledge(state, key, receipt) {
  const transaction = (await memory()).transaction(['acknowledged', 'facts'], 'readwrite');
  const records = transaction.objectStore('acknowledged');
  const facts = transaction.objectStore('facts');
  const [names, values] = await Promise.all([records.getAllKeys(), records.getAll()]);
  const known = new Map(names.map((name, index) => [String(name), values[index].digest]));
  for (const { name, digest } of state.entries) {
    if (known.get(name) !== digest) await records.put({ digest, since: receipt.timestamp }, name);
    known.delete(name);
  }
  for (const gone of known.keys()) await records.delete(gone);
  await facts.put({ receipt, digest: state.digest, at: Date.now() }, 'last');
  if ((await facts.get('pending'))?.key === key) await facts.delete('pending');
  await transaction.done;
}

/**
 * @param {[string, Acknowledged | null][]} changes by record name; null forgets
 */
export async function remember(changes) {
  const { store, done } = (await memory()).transaction('acknowledged', 'readwrite');
  for (const [name, known] of changes) {
    if (known) await store.put(known, name);
    else await store.delete(name);
  }
  await done;
}

/**
 * The last acknowledged backup was deleted: nothing is known to be on the server any more. The
 * names stay, with a digest that no record has, or the records' own flags would be believed.
 *
 * @param {string} id of the deleted backup
 */
export async function forgetLast(id) {
  const transaction = (await memory()).transaction(['acknowledged', 'facts'], 'readwrite');
  const facts = transaction.objectStore('facts');
  if ((await facts.get('last'))?.receipt.id === id) {
    await facts.delete('last');
    const records = transaction.objectStore('acknowledged');
    for (const name of await records.getAllKeys()) {
      await records.put({ digest: 'deleted', since: new Date(0).toISOString() }, name);
    }
  }
  await transaction.done;
}

/** @returns {Promise<Undo | undefined>} */
export async function undoState() {
  return (await memory()).get('facts', 'undo');
}

/** @param {Undo | undefined} undo undefined forgets */
export async function keepUndoState(undo) {
  const database = await memory();
  if (undo) await database.put('facts', undo, 'undo');
  else await database.delete('facts', 'undo');
}

/** 128 random bits: `crypto.randomUUID` is missing on plain-http hosts. */
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
