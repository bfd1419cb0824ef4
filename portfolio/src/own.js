/**
 * The client's own database, `eoe-portfolio-backup`, one for all tabs of an origin.
 *
 * Its store `facts` has `head` and `known`, see `State`, and `undo`, what a restore replaced.
 * The client before this one kept `eoe-cloud-backup`. That is read once and never upgraded, since
 * a copy of that client may still run in another tab.
 */

import { openDB } from 'idb';

import { complete, keepOpen, openExisting } from './connection.js';
import { BackupError, messageOf } from './errors.js';
import { randomHex } from './digests.js';

/** @import { Head, Known, State, Undo } from './types.js' */

const DATABASE = 'eoe-portfolio-backup';
const DATABASE_BEFORE = 'eoe-cloud-backup';

const connected = keepOpen((events) =>
  openDB(DATABASE, 1, { ...events, upgrade: (made) => void made.createObjectStore('facts') }),
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
  } catch (cause) {
    const message = `The client's own database ${DATABASE} failed: ${messageOf(cause)}`;
    throw new BackupError(message, { cause });
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

/** @returns {Promise<Head | undefined>} it differs once the state has changed */
export function recallHead() {
  return transact('readonly', (facts) => facts.get('head'));
}

/** @returns {Promise<{known: Map<string, Known>, undo?: Undo}>} of the client before this one */
async function recallBefore() {
  const known = new Map();
  const database = await openExisting(DATABASE_BEFORE).catch(() => null);
  try {
    const records = database?.transaction('acknowledged').store;
    const [names, values] = [await records?.getAllKeys(), await records?.getAll()];
    names?.forEach((name, index) => known.set(name, values?.[index]));
    return { known, undo: await database?.get('facts', 'undo') };
  } catch {
    // Without it, contents count as first backed up by the next backup.
    return { known };
  } finally {
    database?.close();
  }
}

/**
 * @param {Partial<State>} change
 * @returns {Promise<boolean>} false if another tab has kept a newer base: then nothing was written
 */
export function keep({ known, ...change }) {
  return transact('readwrite', async (facts) => {
    const head = await facts.get('head');
    const { base } = change;
    const isOlder = head?.lost === null && base && base.receipt.id < head.base?.receipt.id;
    if (!head || isOlder) return false;
    await facts.put({ ...head, ...change }, 'head');
    if (known) await facts.put(known, 'known');
    return true;
  });
}

/** @returns {Promise<Undo | undefined>} */
export async function recallUndo() {
  if (!(await recallHead())) await recall(); // the client before this one may have kept one
  return transact('readonly', (facts) => facts.get('undo'));
}

/** @param {Undo | undefined} undo undefined forgets it */
export function keepUndo(undo) {
  return transact('readwrite', (facts) => (undo ? facts.put(undo, 'undo') : facts.delete('undo')));
}
