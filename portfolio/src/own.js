/**
 * The client's own database, `eoe-portfolio-backup`, one for all tabs of an origin.
 *
 * Its store `facts` has `head` and `known`, see `State`; `whole`, what answered the last lost base,
 * and when; and `undo`, what the last restore replaced. The client before this one kept
 * `eoe-cloud-backup`. That is read once and never upgraded, since a copy of that client may still
 * run in another tab.
 */

import { openDB, wrap } from 'idb';

import { complete, keepOpen, openExisting } from './connection.js';
import { BackupError, messageOf } from './errors.js';
import { randomHex } from './digests.js';

/** @import { Known, State, Undo, Whole } from './types.js' */

/** @typedef {Omit<State, 'known'>} Head */

const DATABASE = 'eoe-portfolio-backup';
const DATABASE_BEFORE = 'eoe-cloud-backup';

const connected = keepOpen((events) =>
  openDB(DATABASE, 1, { upgrade: (database) => void database.createObjectStore('facts'), ...events }),
);

/**
 * @template T @param {'readonly' | 'readwrite'} mode @param {(facts: any) => Promise<T>} work
 * @returns {Promise<T>} once the transaction is complete
 * @throws {BackupError} when it fails; then nothing of it was written
 */
async function transact(mode, work) {
  try {
    const transaction = (await connected()).transaction('facts', mode);
    return await complete(transaction, () => work(transaction.store));
  } catch (error) {
    throw new BackupError(`The client's own database ${DATABASE} failed: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** @returns {Promise<State>} as of one moment; the first call makes this device's id */
export async function recall() {
  const before = (await recallHead()) ? null : await recallBefore();
  return transact('readwrite', async (facts) => {
    if (before && !(await facts.get('head'))) {
      await facts.put({ deviceId: randomHex(), base: null, lost: null }, 'head');
      await facts.put(before.known, 'known');
      if (before.undo) await facts.put(before.undo, 'undo');
    }
    return { ...(await facts.get('head')), known: await facts.get('known') };
  });
}

/** @returns {Promise<Head | undefined>} what tells whether the state has changed */
export function recallHead() {
  return transact('readonly', (facts) => facts.get('head'));
}

/** @returns {Promise<{known: Map<string, Known>, undo?: Undo}>} of the client before this one */
async function recallBefore() {
  const known = new Map();
  const database = await openExisting(DATABASE_BEFORE).catch(() => null);
  try {
    if (!database) return { known };
    const transaction = wrap(database).transaction(['acknowledged', 'facts']);
    const records = transaction.objectStore('acknowledged');
    const [names, values] = await Promise.all([records.getAllKeys(), records.getAll()]);
    for (const [index, { digest, since }] of values.entries()) {
      known.set(String(names[index]), { digest, since });
    }
    return { known, undo: await transaction.objectStore('facts').get('undo') };
  } catch {
    // Without it, contents count as first backed up by the next backup.
    return { known };
  } finally {
    database?.close();
  }
}

/**
 * @param {State} state with a base that follows the one before
 * @param {string | null} changed the base that the backup was a change of; null for a whole one
 * @returns {Promise<boolean>} false if another tab was quicker: then nothing was written
 */
export function keepBase({ known, ...head }, changed) {
  return transact('readwrite', async (facts) => {
    const { base, lost } = await facts.get('head');
    const before = base?.receipt.id ?? '';
    const isNewer = lost !== null || (head.base?.receipt.id ?? '') > before;
    if (changed === null ? !isNewer : changed !== before) return false;
    await facts.put(head, 'head');
    await facts.put(known, 'known');
    return true;
  });
}

/** @param {string | null} lost see `State` */
export function keepLost(lost) {
  return transact('readwrite', async (facts) => {
    await facts.put({ ...(await facts.get('head')), lost }, 'head');
  });
}

/** @param {'whole' | 'undo'} name @returns {Promise<any>} a `Whole` or an `Undo`, if there is one */
export function recallFact(name) {
  return transact('readonly', (facts) => facts.get(name));
}

/** @param {'whole' | 'undo'} name @param {Whole | Undo | undefined} value undefined forgets */
export function keepFact(name, value) {
  return transact('readwrite', (facts) => (value ? facts.put(value, name) : facts.delete(name)));
}
