/**
 * Bringing records back out of a backup: planned and checked first, then written in one
 * transaction, and undone by one call. What was restored is pending like any edit, and an upload
 * follows it always: the newest backup of this device may not be the base that this page knows.
 */

import { FLAGGED } from './categories.js';
import { client } from './client.js';
import { readPart } from './documents.js';
import { BackupError } from './errors.js';
import { keepUndo, recallUndo } from './own.js';
import { plan } from './plan.js';
import { applyChanges, readRecords } from './records.js';
import { digestOf } from './serialize.js';
import { turns } from './turns.js';

/** @import { Category, Change, Choice, Items, Planned, PlannedRecord } from './types.js' */
/** @import { Reference, RestoreOptions, RestoreResult, Source, StoredRecord } from './types.js' */

/** How long a restore waits to know whether the base is the newest backup, in milliseconds. */
const PATIENCE = 5000;

/** @type {Record<PlannedRecord['action'], 'added' | 'replaced' | 'same'>} */
const LISTS = { add: 'added', replace: 'replaced', conflict: 'replaced', same: 'same' };

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
  const toWrite = [];
  /** @type {RestoreResult} */
  const result = { id: part.id, added: [], replaced: [], kept: [], same: [] };
  for (const record of await plan(client(), part)) {
    const { action } = record;
    const isWritten = await isToWrite(record, conflicts);
    if (isWritten) toWrite.push(record);
    const list = action === 'conflict' && !isWritten ? 'kept' : LISTS[action];
    result[list].push(reference(record));
  }
  if (toWrite.length > 0) {
    await write(part.id, toWrite);
    void schedule.afterRestore();
  }
  return result;
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
  const { stores, schedule } = client();
  const stored = await readRecords(stores, undo.changes);
  /** @type {[Change[], Change[]]} */
  const [changes, kept] = [[], []];
  for (const [index, change] of undo.changes.entries()) {
    const { category, record } = change;
    const here = stored[index];
    const expected = here && digestOf(category, here);
    if (expected !== change.expected && conflicts === 'keep') kept.push(change);
    else changes.push({ ...change, expected, record: record && unflagged(category, record) });
  }
  await applyChanges(stores, changes);
  await keepUndo(undefined);
  void schedule.afterRestore();
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
  if (undo) await keepUndo({ ...undo, dismissed: true });
}

/** @param {Planned} record @param {NonNullable<RestoreOptions['conflicts']>} conflicts */
async function isToWrite(record, conflicts) {
  if (record.action !== 'conflict') return record.action !== 'same';
  const choice = typeof conflicts === 'function' ? await conflicts(shown(record)) : conflicts;
  if (choice === 'keep' || choice === 'replace') return choice === 'replace';
  throw new BackupError('conflicts: neither keep nor replace was chosen');
}

/** @param {string} backupId @param {Planned[]} toWrite */
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
  await keepUndo({ backupId, restoredAt: new Date().toISOString(), changes: back });
  try {
    await applyChanges(client().stores, there);
  } catch (error) {
    await keepUndo(earlier);
    throw error;
  }
}

/** @param {Category} category @param {StoredRecord} record */
function unflagged(category, record) {
  return FLAGGED.includes(category) ? { ...record, synced: false } : record;
}

/** @param {Planned} planned @returns {PlannedRecord} */
function shown({ category, key, action, here, inBackup }) {
  return { category, key, action, here, inBackup };
}

/** @param {Reference} record @returns {Reference} */
function reference({ category, key }) {
  return { category, key };
}
