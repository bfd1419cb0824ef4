/**
 * Watches what is written through one connection, since IndexedDB has no event for it: on that
 * object and what comes out of it, not on the prototypes that all share. A value is copied at the
 * call, as IndexedDB does. A write counts when its transaction completes. What a cursor writes, and
 * what the deletion of a range deletes, is not seen, only that it was done.
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

/** @param {any} store an IDBObjectStore @param {Category} category @param {Notes} notes */
function watchStore(store, category, notes) {
  if (watched.has(store)) return;
  watched.add(store);
  /** @param {string} name @param {(request: any, parameters: any[]) => void} note */
  const watch = (name, note) => {
    const own = store[name];
    store[name] = function (/** @type {any[]} */ ...parameters) {
      const result = own.apply(this, parameters);
      note(result, parameters);
      return result;
    };
  };
  for (const name of ['add', 'put']) {
    watch(name, (request, [value]) => noteWrite(request, category, value, notes));
  }
  watch('delete', (request, [query]) => {
    request.addEventListener('success', () => {
      if (query instanceof IDBKeyRange) notes.unseen = true;
      else notes.writes.push({ category, key: query, record: null });
    });
  });
  // An index may be asked for a cursor, which writes.
  for (const name of ['clear', 'openCursor', 'index']) {
    watch(name, () => {
      notes.unseen = true;
    });
  }
}

/**
 * @param {IDBRequest<IDBValidKey>} request @param {Category} category @param {StoredRecord} value
 * @param {Notes} notes
 */
function noteWrite(request, category, value, notes) {
  const record = structuredClone(value);
  request.addEventListener('success', () => {
    const key = request.result;
    // Where the host left the key to IndexedDB, that is where IndexedDB puts it.
    notes.writes.push({ category, key, record: { ...record, [KEY_PATHS[category]]: key } });
  });
}
