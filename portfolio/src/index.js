/**
 * Backs up the IndexedDB of an offline-first portfolio to its backup server.
 *
 * Every function throws a `BackupError` when it fails; none answers with an empty list or null
 * instead. The window event `eoe:backup-status` reports what happens by itself: its
 * `detail` is what `getBackupStatus()` returns.
 */

import { listPage } from './backups.js';
import { client } from './client.js';
import { request } from './transport.js';

export { CATEGORIES } from './categories.js';
export { BackupError } from './errors.js';
export { downloadBackup, readBackup } from './documents.js';
export {
  dismissUndo,
  getUndo,
  previewRestore,
  restoreFromBackup,
  undoRestore,
} from './restore.js';
export { BACKUPS_EVENT, describeStatus, STATUS_EVENT } from './status.js';

/** @typedef {import('./types.js').Backup} Backup */
/** @typedef {import('./types.js').BackupPage} BackupPage */
/** @typedef {import('./types.js').Category} Category */
/** @typedef {import('./types.js').StoredRecord} StoredRecord */
/** @typedef {import('./types.js').BackupDocument} BackupDocument */
/** @typedef {import('./types.js').Source} Source */
/** @typedef {import('./types.js').Items} Items */
/** @typedef {import('./types.js').PlannedRecord} PlannedRecord */
/** @typedef {import('./types.js').RestoreOptions} RestoreOptions */
/** @typedef {import('./types.js').RestoreResult} RestoreResult */
/** @typedef {import('./types.js').Settings} Settings */
/** @typedef {import('./types.js').BackupStatus} BackupStatus */
/** @typedef {import('./types.js').Receipt} Receipt */

/** @type {AbortController | null} */
let enabled = null;

/** @param {Partial<Settings>} options given before anything else; the others keep their values */
export function configure(options) {
  client().configure(options);
}

/**
 * Backs up by itself from now on. A second call changes nothing.
 *
 * @returns {Promise<void>} when the start's own backup has ended; the status says how it went
 */
export async function enableAutoBackup() {
  if (enabled) return;
  enabled = new AbortController();
  const { schedule } = client();
  schedule.auto = true;
  client().watch(enabled.signal);
  await schedule.arrive();
}

/** Ends what `enableAutoBackup` started; a backup that runs is finished. */
export function disableAutoBackup() {
  client().schedule.auto = false;
  enabled?.abort();
  enabled = null;
}

/** @returns {Promise<Receipt>} of a backup of all that is stored; two calls at once make one */
export async function createBackup() {
  const { schedule, pending, reload } = client();
  await reload().catch(() => {}); // what fails, fails again
  const everything = pending.state.base?.receipt.id ?? '';
  const made = schedule.perform({ everything, send: true });
  return /** @type {Receipt} */ (await made);
}

/** Says that something was written through another connection than that of `getDB`. */
export function notifyChanged() {
  if (client().isWatched) client().see([], true);
}

/** @returns {BackupStatus} as it is now, the same as the last event's `detail` */
export function getBackupStatus() {
  return client().status.current;
}

/** @returns {Promise<number>} records added, edited or deleted since the last backup from here */
export async function getUnsyncedCount() {
  const { tracker, pending } = client();
  await tracker.upToDate();
  return pending.count;
}

/** @returns {Promise<StoredRecord[]>} the snapshots among them, those that still exist */
export async function getUnsyncedSnapshots() {
  await getUnsyncedCount();
  const entries = client().pending.entries().filter(({ category }) => category === 'snapshots');
  return entries.flatMap(({ json, error }) => {
    if (error) throw error;
    return json === null ? [] : [JSON.parse(json)];
  });
}

/** @returns {Promise<number>} how many records were marked that a backup did not, as in a crash */
export async function markAsSynced() {
  await client().tracker.upToDate();
  return client().correctFlags();
}

/** @returns {Promise<string>} this device's id, one for all tabs of an origin */
export async function getDeviceId() {
  await client().load();
  return client().pending.state.deviceId;
}

/** @returns {Promise<Backup[]>} all of them, newest first */
export async function listBackups() {
  return (await listBackupPage({ limit: null })).backups;
}

/**
 * @param {{limit?: number | null, before?: string | null, deviceId?: string}} [range]
 * @returns {Promise<BackupPage>} its `next` is the `before` of the page after it
 */
export async function listBackupPage({ limit = 500, before, deviceId } = {}) {
  const page = await listPage(client().settings, { limit, before, deviceId });
  client().schedule.retry();
  return page;
}

/** @param {string} id if that is the newest backup of this device, it backs up again by itself */
export async function deleteBackup(id) {
  const { settings, pending, uploads, schedule, announce, reload } = client();
  await reload();
  const wasBase = id === pending.state.base?.receipt.id;
  try {
    await request(settings, { method: 'DELETE', path: `/api/backup/${encodeURIComponent(id)}` });
  } finally {
    announce();
    if (wasBase) {
      // Also when the answer was lost, and nobody knows whether it is gone.
      uploads.unverify();
      await schedule.perform({ verify: true, send: false }).catch(() => {});
      void schedule.arrive();
    }
  }
}
