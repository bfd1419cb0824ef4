/**
 * The backups on the server: listing and deleting them.
 */

import { CATEGORIES } from './categories.js';
import { BackupError } from './errors.js';
import { forgetLast } from './memory.js';
import { parsed, request } from './transport.js';
import { recount } from './watch.js';

/**
 * @typedef {object} Backup
 * @property {string} id
 * @property {string} timestamp ISO 8601, by the server's clock
 * @property {string} clientTimestamp as the client sent it
 * @property {number} size of the stored file, in bytes
 * @property {Record<import('./categories.js').Category, number>} counts
 */

/**
 * @returns {Promise<Backup[]>} all of them, newest first
 * @throws {BackupError} also when the answer is no listing: an empty list means no backups
 */
export async function listBackups() {
  const answer = parsed(await request({ method: 'GET', path: '/api/backup/list' }));
  const backups = answer?.backups;
  if (!Array.isArray(backups) || !backups.every(isBackup)) {
    throw new BackupError('The server\'s answer is not a list of backups');
  }
  return backups;
}

/**
 * Deletes a backup on the server. If it was the last one made from here, what is stored here
 * counts as unsynced again, also when it is not known whether the deletion was done.
 *
 * @param {string} id
 * @throws {BackupError}
 */
export async function deleteBackup(id) {
  // First, since the deletion may succeed and its answer never come: one backup too many, at worst.
  await forgetLast(id);
  try {
    await request({ method: 'DELETE', path: `/api/backup/${encodeURIComponent(id)}` });
  } finally {
    await recount();
  }
}

/** @param {any} backup */
function isBackup(backup) {
  return (
    typeof backup?.id === 'string' &&
    !Number.isNaN(Date.parse(backup.timestamp)) &&
    Number.isFinite(backup.size) &&
    CATEGORIES.every((category) => Number.isInteger(backup.counts?.[category]))
  );
}
