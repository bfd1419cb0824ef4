/**
 * Bringing records back out of a backup: planned and checked first, then written in one
 * transaction, and undone by one call. What was restored is pending like any edit, and an upload
 * follows it always: the newest backup of this device may not be the one that this page knows.
 */

import { FLAGGED, recordName } from './categories.js';
import { client } from './client.js';
import { readPart } from './documents.js';
import { BackupError } from './errors.js';
import { keepFact, recallFact } from './own.js';
import { plan } from './plan.js';
import { applyChanges, readRecords } from './records.js';
import { digestOf } from './serialize.js';
import { turns } from './turns.js';

/** @import { Category, Change, Choice, Items, Planned, PlannedRecord } from './types.js' */
/** @import { Reference, RestoreOptions, RestoreResult, Source, StoredRecord, Undo } from './types.js' */

/** How long a restore waits to know whether the base is the newest backup, in milliseconds. */
const PATIENCE = 5000;

/** @param {Source} source @param {Items} [items] @returns {Promise<PlannedRecord[]>} */
export async function previewRestore(source, items) {
  return (await plan(client(), await readPart(source, items))).map(shown);
}

/**
 * Restores all that is chosen, or, on any failure, nothing.
 *
 * @param {Source} source @param {Items} [items] @param {RestoreOptions} [options]
 * @returns {Promise<RestoreResult>} @throws {BackupError}
 */
export async function restoreFromBackup(source, items, { conflicts = 'keep' } = {}) {
  const part = await readPart(source, items);
  const { schedule } = client();
  const verified = schedule.perform({ verify: true, send: false }).catch(() => {});
  await Promise.race([verified, new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
  const planned = await plan(client(), part);
  const toWrite = await chosen(planned, conflicts);
  if (toWrite.size > 0) {
    await write(part.id, toWrite);
    void schedule.afterRestore();
  }
  return result(part.id, planned, toWrite);
}

/**
 * Brings back what the last restore replaced and removes what it added. Later edits are kept.
 *
 * @param {{conflicts?: Choice}} [options]
 * @returns {Promise<{undone: Reference[], kept: Reference[]}>}
 * @throws {BackupError} also when there is nothing to undo
 */
export async function undoRestore({ conflicts = 'keep' } = {}) {
  const undo = await recallUndo();
  if (!undo) throw new BackupError('There is no restore to undo');
  const changes = await retarget(undo.changes, conflicts);
  await applyChanges(client().stores, changes);
  await keepFact('undo', undefined);
  void client().schedule.afterRestore();
  const undone = new Set(changes.map(nameOf));
  const kept = undo.changes.filter((change) => !undone.has(nameOf(change)));
  return { undone: changes.map(reference), kept: kept.map(reference) };
}

/** @returns {Promise<{backupId: string, restoredAt: string, dismissed: boolean} | null>} */
export async function getUndo() {
  const undo = await recallUndo();
  if (!undo) return null;
  const { backupId, restoredAt, dismissed = false } = undo;
  return { backupId, restoredAt, dismissed };
}

/** The undo is no longer offered, and stays possible. */
export async function dismissUndo() {
  const undo = await recallUndo();
  if (undo) await keepFact('undo', { ...undo, dismissed: true });
}

/** @returns {Promise<Undo | undefined>} */
async function recallUndo() {
  // Or that of the client before this one might not have been read yet.
  await client().load();
  return recallFact('undo');
}

/**
 * @param {Planned[]} planned @param {NonNullable<RestoreOptions['conflicts']>} conflicts
 * @returns {Promise<Set<Planned>>} what is to be written
 */
async function chosen(planned, conflicts) {
  const toWrite = new Set();
  for (const record of planned) {
    let choice = record.action === 'same' ? 'keep' : 'replace';
    if (record.action === 'conflict') {
      choice = typeof conflicts === 'function' ? await conflicts(shown(record)) : conflicts;
    }
    if (choice === 'replace') toWrite.add(record);
    else if (choice !== 'keep') throw new BackupError('conflicts: neither keep nor replace was chosen');
  }
  return toWrite;
}

/** @param {string} backupId @param {Set<Planned>} toWrite */
async function write(backupId, toWrite) {
  /** @type {[Change[], Change[]]} */
  const [there, back] = [[], []];
  const turn = turns();
  for (const { category, target: key, here, record } of toWrite) {
    const expected = here && digestOf(category, here);
    there.push({ category, key, expected, record: unflagged(category, record) });
    back.push({ category, key, expected: digestOf(category, record), record: here });
    await turn();
  }
  const earlier = await recallUndo();
  // On disk before the first write: there is no moment without a way back.
  await keepFact('undo', { backupId, restoredAt: new Date().toISOString(), changes: back });
  try {
    await applyChanges(client().stores, there);
  } catch (error) {
    await keepFact('undo', earlier);
    throw error;
  }
}

/**
 * @param {Change[]} changes @param {Choice} conflicts
 * @returns {Promise<Change[]>} those to make, expecting what is stored now
 */
async function retarget(changes, conflicts) {
  const stored = await readRecords(client().stores, changes);
  return changes.flatMap((change, index) => {
    const { category, record } = change;
    const here = stored[index];
    const now = here && digestOf(category, here);
    if (now !== change.expected && conflicts === 'keep') return [];
    return [{ ...change, expected: now, record: record && unflagged(category, record) }];
  });
}

/** @param {Category} category @param {StoredRecord} record */
function unflagged(category, record) {
  return FLAGGED.includes(category) ? { ...record, synced: false } : record;
}

/**
 * @param {string} id @param {Planned[]} planned @param {Set<Planned>} written
 * @returns {RestoreResult}
 */
function result(id, planned, written) {
  const those = (/** @type {boolean} */ isWritten, /** @type {string[]} */ ...actions) =>
    planned
      .filter((record) => actions.includes(record.action) && written.has(record) === isWritten)
      .map(reference);
  const [added, replaced] = [those(true, 'add'), those(true, 'replace', 'conflict')];
  return { id, added, replaced, kept: those(false, 'conflict'), same: those(false, 'same') };
}

/** @param {Planned} planned @returns {PlannedRecord} */
function shown({ category, key, action, here, inBackup }) {
  return { category, key, action, here, inBackup };
}

/** @param {Reference} record */
function nameOf({ category, key }) {
  return recordName(category, key);
}

/** @param {Reference} record @returns {Reference} */
function reference({ category, key }) {
  return { category, key };
}
