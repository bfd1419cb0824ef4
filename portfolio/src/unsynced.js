/**
 * What the server doesn't have yet.
 */

import { unsyncedEntries } from './changes.js';
import { upToDate } from './watch.js';

/**
 * @returns {Promise<number>} records added, edited or deleted since the last acknowledged
 *   backup, over all five stores
 * @throws {import('./errors.js').BackupError}
 */
export async function getUnsyncedCount() {
  await upToDate();
  return unsyncedEntries().length;
}

/**
 * @returns {Promise<import('./categories.js').StoredRecord[]>} the snapshots among them, those
 *   that still exist
 * @throws {import('./errors.js').BackupError} also when JSON can't hold one of them
 */
export async function getUnsyncedSnapshots() {
  await upToDate();
  const entries = unsyncedEntries().filter(({ category }) => category === 'snapshots');
  return entries.flatMap(({ json, error }) => {
    if (error) throw error;
    return json === null ? [] : [JSON.parse(json)];
  });
}
