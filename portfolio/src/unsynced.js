/**
 * What the server doesn't have yet.
 */

import { survey } from './prepare.js';

/**
 * @returns {Promise<number>} records added, edited or deleted since the last acknowledged
 *   backup, over all five stores
 * @throws {import('./errors.js').BackupError}
 */
export async function getUnsyncedCount() {
  return (await survey()).unsynced;
}

/**
 * @returns {Promise<import('./categories.js').StoredRecord[]>} the snapshots among them, those
 *   that still exist
 * @throws {import('./errors.js').BackupError}
 */
export async function getUnsyncedSnapshots() {
  const { state, isUnsynced } = await survey();
  return state.entries
    .filter((entry) => entry.category === 'snapshots' && isUnsynced(entry))
    .map((entry) => JSON.parse(entry.json));
}
