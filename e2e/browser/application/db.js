/**
 * The application's database: six stores, their indexes, and one idb connection for all.
 */

import { openDB } from '../../../portfolio/node_modules/idb/build/index.js?the-applications-own';

/** By store: its key, and the members that have an index. */
const STORES = {
  atoms: [{ keyPath: 'slug' }, 'date', 'type'],
  voiceNotes: [{ keyPath: 'id', autoIncrement: true }, 'atomSlug', 'synced'],
  screenshots: [{ keyPath: 'id', autoIncrement: true }, 'atomSlug', 'synced'],
  configOverrides: [{ keyPath: 'atomSlug' }],
  compositions: [{ keyPath: 'id' }, 'name', 'updatedAt', 'synced'],
  snapshots: [{ keyPath: 'id' }, 'compositionId', 'createdAt', 'synced'],
};

let instance = null;

export async function getDB() {
  if (instance) return instance;
  instance = await openDB('eoe-atoms', 3, {
    upgrade(database) {
      for (const [name, [options, ...indexes]] of Object.entries(STORES)) {
        if (database.objectStoreNames.contains(name)) continue;
        const store = database.createObjectStore(name, options);
        for (const index of indexes) store.createIndex(index, index);
      }
    },
  });
  return instance;
}

export const saveAtom = async (atom) => (await getDB()).put('atoms', atom);

export async function saveComposition(composition) {
  const updatedAt = new Date().toISOString();
  await (await getDB()).put('compositions', { ...composition, updatedAt, synced: false });
}

export const saveSnapshot = async (snapshot) => (await getDB()).put('snapshots', snapshot);

export const saveVoiceNote = async (note) =>
  (await getDB()).add('voiceNotes', { ...note, synced: false });

export const getVoiceNotesForAtom = async (slug) =>
  (await getDB()).getAllFromIndex('voiceNotes', 'atomSlug', slug);

export async function getAllAtomsSorted() {
  return (await (await getDB()).getAllFromIndex('atoms', 'date')).reverse();
}
