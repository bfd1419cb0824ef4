/**
 * The application's own client as it was: its names, its results and its manners, by this one.
 * What failed is logged, and answered with null or an empty list. README.md has the table.
 */

import * as client from './index.js';

export { disableAutoBackup, getBackupStatus, getUnsyncedSnapshots } from './index.js';

/** @typedef {import('./index.js').Backup} BackupSummary */
/** @typedef {import('./index.js').BackupStatus['status']} BackupStatus */
/** @typedef {import('./index.js').BackupDocument['data']} BackupData */
/** @typedef {import('./index.js').Category} Category */
/** @typedef {import('./index.js').Receipt} Receipt */

/** @template T @param {string} what @param {T} answer @returns {(error: unknown) => T} */
const failed = (what, answer) => (error) => {
  console.error(`[backup] ${what}:`, error);
  return answer;
};

/** @returns {Promise<Receipt | null>} null also while a backup runs */
export async function createBackup() {
  if (client.getBackupStatus().status === 'backing-up') return null;
  return client.createBackup().catch(failed('Failed', null));
}

/** @returns {Promise<BackupSummary[]>} */
export function listBackups() {
  return client.listBackups().catch(failed('Failed to list backups', []));
}

/**
 * Replaces what is here. `undoRestore` of the package brings it back.
 *
 * @param {string} backupId @param {Partial<Record<Category, boolean>>} [items]
 * @returns {Promise<{atomsRestored: number, compositionsRestored: number,
 * snapshotsRestored: number} | null>} what was written
 */
export async function restoreFromBackup(backupId, items) {
  const call = client.restoreFromBackup(backupId, items, { conflicts: 'replace' });
  const result = await call.catch(failed('Restore failed', null));
  if (!result) return null;
  const written = [...result.added, ...result.replaced];
  const count = (/** @type {Category} */ name) =>
    written.filter(({ category }) => category === name).length;
  return {
    atomsRestored: count('atoms'),
    compositionsRestored: count('compositions'),
    snapshotsRestored: count('snapshots'),
  };
}

export function enableAutoBackup() {
  void client.enableAutoBackup();
}

/** @returns {Promise<number>} all else that is in no backup: badges add the two up */
export async function getUnsyncedCount() {
  return (await client.getUnsyncedCount()) - (await client.getUnsyncedSnapshots()).length;
}
