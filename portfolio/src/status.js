/** The client's status, the event that reports it, and its words. */

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

/**
 * `unverified`: all of it is in a backup that the server did not confirm just now; `emptied`:
 * nothing is stored here, and something is in that backup.
 *
 * @typedef {'checking' | 'backing-up' | 'error' | 'offline' | 'unsynced' | 'empty'} Waiting
 * @typedef {Waiting | 'emptied' | 'unverified' | 'backed-up'} State
 */

/**
 * @param {BackupStatus} status
 * @param {{online?: boolean}} [options] `online`: what the browser says, which colours the words
 * and decides nothing
 * @returns {{state: State, text: string}}
 */
export function describeStatus(status, { online = globalThis.navigator?.onLine ?? true } = {}) {
  const { lastError, unsyncedCount, storedCount, baseId, baseCount, verified, reached } = status;
  const time = status.lastBackupTime ?? '';
  const waits = `${unsyncedCount} ${unsyncedCount === 1 ? 'change' : 'changes'} not backed up yet`;
  const say = (/** @type {State} */ state, /** @type {string} */ text) => ({ state, text });
  if (status.status === 'backing-up') return say('backing-up', 'Backing up…');
  if (unsyncedCount && storedCount && !online) return say('offline', `Offline, ${waits}`);
  if (lastError !== null) return say('error', `Not backed up: ${lastError}`);
  if (unsyncedCount === null) return say('checking', 'Checking…');
  if (storedCount === 0 && !baseCount) return say('empty', 'Nothing to back up yet');
  if (storedCount === 0) {
    const last = `the last backup, ${timeOf(time)}, has ${baseCount}`;
    return say('emptied', `Nothing is stored here; ${last}`);
  }
  if (unsyncedCount > 0) return say('unsynced', status.note ? `${waits}: ${status.note}` : waits);
  if (baseId === null) return say('checking', 'Checking…');
  const backedUp = `Backed up ${isToday(time) ? 'at' : 'on'} ${timeOf(time)}`;
  if (verified) return say('backed-up', backedUp);
  const why = reached === null ? 'asking the server…' : 'server not reached';
  return say('unverified', `${backedUp}, ${why}`);
}

/** @param {string} timestamp */
function isToday(timestamp) {
  return new Date(timestamp).toDateString() === new Date().toDateString();
}

/** @param {string} timestamp */
function timeOf(timestamp) {
  const time = new Date(timestamp);
  const clock = time.toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit' });
  if (isToday(timestamp)) return clock;
  return `${time.toLocaleDateString(undefined, { dateStyle: 'long' })}, ${clock}`;
}
