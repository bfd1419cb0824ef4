/**
 * Where this page is, and the database that it, like the portfolio, keeps its work in.
 *
 * At `/` the page is the container's own site: it makes `eoe-atoms` as the application does, so that
 * the application can take its place later. At any other path it is beside a site, whose
 * database it never makes and never upgrades: the client opens that at the version it has.
 */

import { openDB } from 'idb';

/** @typedef {{slug: string, title: string, date: string, type: string, stage: string,
 *   code: string, updatedAt: string}} Atom */

const DATABASE = 'eoe-atoms';

/** Whether there is no other site here. */
export const alone = new URL('.', location.href).pathname === '/';

/** The application's stores and indexes; an index has the name of its member.
 * @type {Record<string, IDBObjectStoreParameters & {indexes: string[]}>} */
const STORES = {
  atoms: { keyPath: 'slug', indexes: ['date', 'type'] },
  compositions: { keyPath: 'id', indexes: ['name', 'updatedAt', 'synced'] },
  snapshots: { keyPath: 'id', indexes: ['atomSlug', 'createdAt', 'synced'] },
  voiceNotes: { keyPath: 'id', autoIncrement: true, indexes: ['atomSlug', 'synced'] },
  screenshots: { keyPath: 'id', autoIncrement: true, indexes: ['atomSlug', 'synced'] },
  configOverrides: { keyPath: 'atomSlug', indexes: [] },
};

/** @type {Promise<import('idb').IDBPDatabase> | null} */
let connection = null;

/** @returns {Promise<boolean>} true where the browser can't tell */
export async function isThere() {
  const databases = await indexedDB.databases?.();
  return databases?.some(({ name }) => name === DATABASE) ?? true;
}

/** The page's own connection, opened again after it was lost. Only for a page that is alone. */
export function getDB() {
  connection ??= openOwn().catch((error) => {
    connection = null;
    throw error;
  });
  return connection;
}

async function openOwn() {
  const version = (await isThere()) ? undefined : 3;
  return openDB(DATABASE, version, {
    upgrade(database) {
      for (const [name, { indexes, ...options }] of Object.entries(STORES)) {
        const store = database.createObjectStore(name, options);
        for (const index of indexes) store.createIndex(index, index);
      }
    },
    blocking(_current, _blocked, event) {
      /** @type {IDBDatabase} */ (event.target).close();
      connection = null;
    },
    terminated() {
      connection = null;
    },
  });
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
