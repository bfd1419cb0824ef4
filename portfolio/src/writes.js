/**
 * Sees what is written through one connection.
 *
 * IndexedDB tells nobody of a write. The connection is the host's own, so its transactions are
 * where its writes can be seen: on that one object, and on what comes out of it, not on the
 * prototypes that all share. A value is copied at the call, as IndexedDB itself does; a write
 * counts when its transaction completes, and not at all if its request or that fails.
 */

import { isCategory, KEY_PATHS } from './categories.js';

/** @typedef {import('./categories.js').Category} Category */
/** @typedef {import('./categories.js').StoredRecord} StoredRecord */

/**
 * @typedef {object} Write
 * @property {Category} category
 * @property {IDBValidKey} key
 * @property {StoredRecord | null} record null: deleted
 */

/**
 * @callback Listener called as a transaction completes, before the host's own listeners are
 * @param {Write[]} writes in their order
 * @param {boolean} unseen whether it also wrote something that is not among them
 * @returns {void}
 */

/** @typedef {{writes: Write[], unseen: boolean}} Notes */

const watched = new WeakSet();

/**
 * @param {IDBDatabase} database
 * @param {Listener} listener
 */
export function watchWrites(database, listener) {
  if (watched.has(database)) return;
  watched.add(database);
  // Not `database.transaction`: a wrapping by another copy of idb would answer with a wrapped one.
  const own = Object.getOwnPropertyDescriptor(database, 'transaction');
  const begin = own?.value ?? IDBDatabase.prototype.transaction;
  database.transaction = function transaction(...parameters) {
    const begun = /** @type {IDBTransaction} */ (begin.apply(this, parameters));
    if (begun.mode === 'readwrite') watchTransaction(begun, listener);
    return begun;
  };
}

/**
 * @param {IDBTransaction} transaction
 * @param {Listener} listener
 */
function watchTransaction(transaction, listener) {
  /** @type {Notes} */
  const notes = { writes: [], unseen: false };
  transaction.addEventListener('complete', () => {
    if (notes.unseen || notes.writes.length > 0) listener(notes.writes, notes.unseen);
  });
  const { objectStore: open } = transaction;
  transaction.objectStore = function objectStore(name) {
    const store = open.call(this, name);
    if (isCategory(name)) watchStore(store, name, notes);
    return store;
  };
}

/**
 * @param {IDBObjectStore} store
 * @param {Category} category
 * @param {Notes} notes
 */
function watchStore(store, category, notes) {
  if (watched.has(store)) return;
  watched.add(store);
  const { add, put, delete: remove, clear, index: open } = store;
  store.add = function (...parameters) {
    return noteWrite(add.apply(this, parameters), category, parameters[0], notes);
  };
  store.put = function (...parameters) {
    return noteWrite(put.apply(this, parameters), category, parameters[0], notes);
  };
  store.delete = function (query) {
    const request = remove.call(this, query);
    if (query instanceof IDBKeyRange) return noteUnseen(request, notes);
    return noteDeletion(request, category, query, notes);
  };
  store.clear = function () {
    return noteUnseen(clear.call(this), notes);
  };
  store.index = function (name) {
    const index = open.call(this, name);
    watchCursors(index, category, notes);
    return index;
  };
  watchCursors(store, category, notes);
}

/**
 * @param {IDBObjectStore | IDBIndex} source
 * @param {Category} category
 * @param {Notes} notes
 */
function watchCursors(source, category, notes) {
  const { openCursor: open } = source;
  source.openCursor = function openCursor(...parameters) {
    const request = open.apply(this, parameters);
    request.addEventListener('success', () => {
      if (request.result) watchCursor(request.result, category, notes);
    });
    return request;
  };
}

/**
 * @param {IDBCursorWithValue} cursor
 * @param {Category} category
 * @param {Notes} notes
 */
function watchCursor(cursor, category, notes) {
  if (watched.has(cursor)) return;
  watched.add(cursor);
  const { update, delete: remove } = cursor;
  cursor.update = function (value) {
    return noteWrite(update.call(this, value), category, value, notes);
  };
  cursor.delete = function () {
    const { primaryKey } = this;
    return noteDeletion(remove.call(this), category, primaryKey, notes);
  };
}

/**
 * @param {IDBRequest<IDBValidKey>} request
 * @param {Category} category
 * @param {StoredRecord} value
 * @param {Notes} notes
 */
function noteWrite(request, category, value, notes) {
  const record = copied(value);
  request.addEventListener('success', () => {
    if (!record) notes.unseen = true;
    else {
      const key = request.result;
      const path = KEY_PATHS[category];
      // Where the host left the key to IndexedDB, that is where IndexedDB puts it.
      if (!(path in record)) record[path] = key;
      notes.writes.push({ category, key, record });
    }
  });
  return request;
}

/**
 * @param {IDBRequest<undefined>} request
 * @param {Category} category
 * @param {IDBValidKey} key
 * @param {Notes} notes
 */
function noteDeletion(request, category, key, notes) {
  request.addEventListener('success', () => notes.writes.push({ category, key, record: null }));
  return request;
}

/**
 * @param {IDBRequest<undefined>} request
 * @param {Notes} notes
 */
function noteUnseen(request, notes) {
  request.addEventListener('success', () => {
    notes.unseen = true;
  });
  return request;
}

/**
 * @param {StoredRecord} value
 * @returns {StoredRecord | null} null where that can't be done: then the stores are looked through
 */
function copied(value) {
  try {
    return structuredClone(value);
  } catch {
    return null;
  }
}
