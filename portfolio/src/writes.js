/**
 * Sees what is written through one connection, of which IndexedDB tells nobody: on that object and
 * what comes out of it, not on the prototypes that all share. A value is copied at the call, as
 * IndexedDB does. A write counts when its transaction completes. What a cursor writes, and what the
 * deletion of a range deletes, is not seen, only that it was done.
 */

import { isCategory, KEY_PATHS } from './categories.js';

/** @import { Category, StoredRecord, Write, WriteListener } from './types.js' */

/** @typedef {{writes: Write[], unseen: boolean}} Notes */

const watched = new WeakSet();

/** @param {IDBDatabase} database @param {WriteListener} listener */
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

/** @param {IDBTransaction} transaction @param {WriteListener} listener */
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

/** @param {IDBObjectStore} store @param {Category} category @param {Notes} notes */
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
    request.addEventListener('success', () => {
      if (query instanceof IDBKeyRange) notes.unseen = true;
      else notes.writes.push({ category, key: query, record: null });
    });
    return request;
  };
  store.clear = function () {
    notes.unseen = true;
    return clear.call(this);
  };
  store.index = function (name) {
    const index = open.call(this, name);
    watchCursors(index, notes);
    return index;
  };
  watchCursors(store, notes);
}

/** @param {IDBObjectStore | IDBIndex} source @param {Notes} notes */
function watchCursors(source, notes) {
  const { openCursor: open } = source;
  source.openCursor = function openCursor(...parameters) {
    notes.unseen = true;
    return open.apply(this, parameters);
  };
}

/**
 * @param {IDBRequest<IDBValidKey>} request @param {Category} category @param {StoredRecord} value
 * @param {Notes} notes
 */
function noteWrite(request, category, value, notes) {
  const record = copied(value);
  request.addEventListener('success', () => {
    const key = request.result;
    const path = KEY_PATHS[category];
    // Where the host left the key to IndexedDB, that is where IndexedDB puts it.
    if (record && !(path in record)) record[path] = key;
    if (record) notes.writes.push({ category, key, record });
    else notes.unseen = true;
  });
  return request;
}

/** @param {StoredRecord} value @returns {StoredRecord | null} null where it can't be copied */
function copied(value) {
  try {
    return structuredClone(value);
  } catch {
    return null;
  }
}
