/**
 * What the client knows about itself, the event that tells of it, and its words.
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
  const { lastError, unsyncedCount, baseCount, reached, note } = status;
  const time = status.lastBackupTime ?? '';
  const state = stateOf(status, online);
  switch (state) {
    case 'checking':
      return { state, text: 'Checking…' };
    case 'backing-up':
      return { state, text: 'Backing up…' };
    case 'error':
      return { state, text: `Not backed up: ${lastError}` };
    case 'offline':
      return { state, text: `Offline, ${changes(unsyncedCount)} not backed up yet` };
    case 'unsynced': {
      const text = `${changes(unsyncedCount)} not backed up yet`;
      return { state, text: note === null ? text : `${text}: ${note}` };
    }
    case 'empty':
      return { state, text: 'Nothing to back up yet' };
    case 'emptied':
      return { state, text: `Nothing is stored here; the last backup, ${timeOf(time)}, has ${baseCount}` };
    case 'unverified': {
      const why = reached === null ? 'asking the server…' : 'server not reached';
      return { state, text: `${backedUp(time)}, ${why}` };
    }
    case 'backed-up':
      return { state, text: backedUp(time) };
  }
}

/** @param {BackupStatus} status @param {boolean} online @returns {State} */
function stateOf(status, online) {
  const { lastError, unsyncedCount, storedCount, baseId, baseCount, verified } = status;
  if (status.status === 'backing-up') return 'backing-up';
  if (unsyncedCount && storedCount && !online) return 'offline';
  if (lastError !== null) return 'error';
  if (unsyncedCount === null) return 'checking';
  if (storedCount === 0) return baseCount ? 'emptied' : 'empty';
  if (unsyncedCount > 0) return 'unsynced';
  if (baseId === null) return 'checking';
  return verified ? 'backed-up' : 'unverified';
}

/** @param {number | null} count */
function changes(count) {
  return count === 1 ? '1 change' : `${count} changes`;
}

/** @param {string} timestamp */
function backedUp(timestamp) {
  return `Backed up ${isToday(timestamp) ? 'at' : 'on'} ${timeOf(timestamp)}`;
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
