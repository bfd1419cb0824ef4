/**
 * What the client knows about itself, and the event that tells of it.
 */

/**
 * @typedef {object} BackupStatus
 * @property {'idle' | 'backing-up' | 'success' | 'error'} status `success` after a backup from here
 *   for as long as nothing differs from it
 * @property {string | null} lastBackupTime of the base, the newest backup of this device, ISO 8601
 *   by the server's clock; null while there is none
 * @property {string | null} lastError why the last try failed; stays until one succeeds
 * @property {number | null} progress of the upload, 0 to 1; null while there is none
 * @property {number | null} unsyncedCount records added, edited or deleted since the base; null
 *   until it has been counted
 * @property {number | null} storedCount records in the five stores; null like `unsyncedCount`
 * @property {string | null} baseId
 * @property {number | null} baseCount records in the base
 * @property {boolean} verified whether the server had the base as this device's newest backup when
 *   it was last asked, and it answered
 * @property {boolean | null} reached whether the server answered; null until the first answer, and
 *   from the return to a page to the next one
 * @property {string | null} note why something that is pending waits
 */

export const STATUS_EVENT = 'eoe:backup-status';

/** The server's list has changed: a backup arrived or was deleted, from here or another tab. */
export const BACKUPS_EVENT = 'eoe:backups';

export class Status {
  /** @type {BackupStatus} */
  #current = {
    status: 'idle',
    lastBackupTime: null,
    lastError: null,
    progress: null,
    unsyncedCount: null,
    storedCount: null,
    baseId: null,
    baseCount: null,
    verified: false,
    reached: null,
    note: null,
  };

  /** The same as the last event's `detail`. */
  get current() {
    return { ...this.#current };
  }

  /** @param {Partial<BackupStatus>} change dispatched as an event if it changes anything */
  update(change) {
    const next = { ...this.#current, ...change };
    const names = /** @type {(keyof BackupStatus)[]} */ (Object.keys(next));
    if (names.every((name) => next[name] === this.#current[name])) return;
    this.#current = next;
    window.dispatchEvent(new CustomEvent(STATUS_EVENT, { detail: this.current }));
  }
}
