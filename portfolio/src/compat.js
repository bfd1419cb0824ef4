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

/** @param {string} what @param {unknown} error */
function log(what, error) {
  console.error(`[backup] ${what}:`, error);
}

/** @returns {Promise<Receipt | null>} null also while a backup runs */
export async function createBackup() {
  if (client.getBackupStatus().status === 'backing-up') return null;
  return client.createBackup().catch((error) => (log('Failed', error), null));
}

/** @returns {Promise<BackupSummary[]>} */
export function listBackups() {
  return client.listBackups().catch((error) => (log('Failed to list backups', error), []));
}

/**
 * Replaces what is here. `undoRestore` of the package brings it back.
 *
 * @param {string} backupId @param {Partial<Record<Category, boolean>>} [items]
 * @returns {Promise<{atomsRestored: number, compositionsRestored: number,
 * snapshotsRestored: number} | null>} what was written
 */
export async function restoreFromBackup(backupId, items) {
  try {
    const result = await client.restoreFromBackup(backupId, items, { conflicts: 'replace' });
    const written = [...result.added, ...result.replaced];
    const count = (/** @type {Category} */ name) =>
      written.filter(({ category }) => category === name).length;
    return {
      atomsRestored: count('atoms'),
      compositionsRestored: count('compositions'),
      snapshotsRestored: count('snapshots'),
    };
  } catch (error) {
    log('Restore failed', error);
    return null;
  }
}

export function enableAutoBackup() {
  void client.enableAutoBackup();
}

/** @returns {Promise<number>} all else that is in no backup: badges add the two up */
export async function getUnsyncedCount() {
  return (await client.getUnsyncedCount()) - (await client.getUnsyncedSnapshots()).length;
}
