/**
 * Where this page is, and the database that it, like the portfolio, keeps its work in.
 *
 * At `/` the page is the container's own site: it makes `eoe-atoms` as the application does, so
 * that the application can take its place later. At any other path it is beside a site, whose
 * database it never makes and never upgrades: the client opens that at the version it has.
 */

import { openDB } from 'idb';

import { keepOpen } from '../src/connection.js';

type Fields = Record<'title' | 'stage' | 'code', string>;
export type Atom = Fields & Record<'slug' | 'date' | 'type' | 'updatedAt', string>;

const DATABASE = 'eoe-atoms';

/** Whether there is no other site here. */
export const alone = new URL('.', location.href).pathname === '/';

/** The application's stores and indexes; an index has the name of its member. */
const STORES: Record<string, IDBObjectStoreParameters & { indexes: string[] }> = {
  atoms: { keyPath: 'slug', indexes: ['date', 'type'] },
  compositions: { keyPath: 'id', indexes: ['name', 'updatedAt', 'synced'] },
  snapshots: { keyPath: 'id', indexes: ['atomSlug', 'createdAt', 'synced'] },
  voiceNotes: { keyPath: 'id', autoIncrement: true, indexes: ['atomSlug', 'synced'] },
  screenshots: { keyPath: 'id', autoIncrement: true, indexes: ['atomSlug', 'synced'] },
  configOverrides: { keyPath: 'atomSlug', indexes: [] },
};

/** True where the browser can't tell. */
export async function isThere() {
  const databases = await indexedDB.databases?.();
  return databases?.some(({ name }) => name === DATABASE) ?? true;
}

/** The page's own connection, opened again after it was lost. Only for a page that is alone. */
export const getDB = keepOpen(async (events) => {
  const version = (await isThere()) ? undefined : 3;
  return openDB(DATABASE, version, {
    ...events,
    upgrade(database) {
      for (const [name, { indexes, ...options }] of Object.entries(STORES)) {
        const store = database.createObjectStore(name, options);
        for (const index of indexes) store.createIndex(index, index);
      }
    },
  });
});

/** The newest first. */
export async function allAtoms(): Promise<Atom[]> {
  return (await (await getDB()).getAll('atoms')).reverse();
}

/** @param atom the one to change, null for a new one */
export async function saveAtom(atom: Atom | null, fields: Fields) {
  const updatedAt = new Date().toISOString();
  const date = updatedAt.slice(0, 10);
  const base = atom ?? { slug: await freeSlug(`${date}-${slugOf(fields.title)}`), date };
  const transaction = (await getDB()).transaction('atoms', 'readwrite');
  // The record as it is now, not as it was shown: another tab may have saved other members.
  const stored = await transaction.store.get(base.slug);
  await transaction.store.put({ type: 'visual', ...base, ...stored, ...fields, updatedAt });
  await transaction.done;
}

function slugOf(title: string) {
  return (title.toLowerCase().match(/[\p{L}\p{N}]+/gu)?.join('-') ?? 'untitled').slice(0, 60);
}

async function freeSlug(slug: string, number = 1): Promise<string> {
  const free = number === 1 ? slug : `${slug}-${number}`;
  return (await (await getDB()).getKey('atoms', free)) ? freeSlug(slug, number + 1) : free;
}
