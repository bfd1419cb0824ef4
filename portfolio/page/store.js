/**
 * The database that this page, like the portfolio, keeps its work in.
 */

import { openDB } from 'idb';

/** @typedef {{slug: string, title: string, date: string, type: string, stage: string,
 *   code: string, updatedAt: string}} Atom */

/** @type {Promise<import('idb').IDBPDatabase> | null} */
let connection = null;

/** `eoe-atoms` at version 3, made if it isn't there. */
export function getDB() {
  connection ??= openDB('eoe-atoms', 3, { upgrade });
  return connection;
}

/**
 * @param {import('idb').IDBPDatabase} database
 */
function upgrade(database) {
  /** @type {Record<string, IDBObjectStoreParameters>} */
  const stores = {
    atoms: { keyPath: 'slug' },
    compositions: { keyPath: 'id' },
    snapshots: { keyPath: 'id' },
    voiceNotes: { keyPath: 'id', autoIncrement: true },
    screenshots: { keyPath: 'id', autoIncrement: true },
    configOverrides: { keyPath: 'atomSlug' },
  };
  for (const [name, options] of Object.entries(stores)) {
    if (!database.objectStoreNames.contains(name)) database.createObjectStore(name, options);
  }
}

/** @returns {Promise<Atom[]>} the newest first */
export async function allAtoms() {
  return (await (await getDB()).getAll('atoms')).reverse();
}

/**
 * @param {Atom | null} atom the one to change, null for a new one
 * @param {{title: string, stage: string, code: string}} fields
 */
export async function saveAtom(atom, fields) {
  const transaction = (await getDB()).transaction('atoms', 'readwrite');
  const updatedAt = new Date().toISOString();
  const date = updatedAt.slice(0, 10);
  const base = atom ?? { slug: await freeSlug(transaction.store, date, fields.title), date };
  // What is stored now, not what was shown: another tab may have saved other members.
  const stored = await transaction.store.get(base.slug);
  await transaction.store.put({ type: 'visual', ...base, ...stored, ...fields, updatedAt });
  await transaction.done;
}

/**
 * @param {import('idb').IDBPObjectStore<unknown, ['atoms'], 'atoms', 'readwrite'>} store
 * @param {string} date
 * @param {string} title
 */
async function freeSlug(store, date, title) {
  const words = title.toLowerCase().match(/[\p{L}\p{N}]+/gu)?.join('-') ?? 'untitled';
  const slug = `${date}-${words.slice(0, 60)}`;
  let free = slug;
  for (let number = 2; await store.getKey(free); number += 1) free = `${slug}-${number}`;
  return free;
}
