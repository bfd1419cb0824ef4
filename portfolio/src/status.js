/**
 * What the client knows about itself, and the event that tells of it.
 */

/**
 * @typedef {object} BackupStatus
 * @property {'idle' | 'backing-up' | 'success' | 'error'} status `idle` before the first try,
 *   then how the last one ended; `unsyncedCount` tells whether that is still all
 * @property {string | null} lastBackupTime of the last acknowledged backup, ISO 8601 by the
 *   server's clock; null while none is known
 * @property {string | null} lastError why the last try failed; stays until one succeeds
 * @property {number | null} progress of the upload, 0 to 1; null while there is none
 * @property {number | null} unsyncedCount records added, edited or deleted since then; null
 *   until it has been counted
 * @property {number | null} storedCount records in the five stores; null like `unsyncedCount`
 */

export const STATUS_EVENT = 'eoe:backup-status';

/** @type {BackupStatus} */
let current = {
  status: 'idle',
  lastBackupTime: null,
  lastError: null,
  progress: null,
  unsyncedCount: null,
  storedCount: null,
};

/** @returns {BackupStatus} as it is now, the same as the last event's `detail` */
export function getBackupStatus() {
  return { ...current };
}

/** @param {Partial<BackupStatus>} change dispatched as an event if it changes anything */
export function updateStatus(change) {
  const next = { ...current, ...change };
  const names = /** @type {(keyof BackupStatus)[]} */ (Object.keys(next));
  if (names.every((name) => next[name] === current[name])) return;
  current = next;
  window.dispatchEvent(new CustomEvent(STATUS_EVENT, { detail: getBackupStatus() }));
}
