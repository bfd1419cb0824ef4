/**
 * What the client knows about itself, and the event that tells of it.
 */

/** @import { BackupStatus } from './types.js' */

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
