/**
 * One backup at a time: packed, sent, acknowledged, marked.
 */

import {
  confirm,
  look,
  parcel,
  recalled,
  refresh,
  settled,
  show,
  unsyncedEntries,
} from './changes.js';
import { markSynced } from './database.js';
import { BackupError, messageOf } from './errors.js';
import { forgetBase, last } from './memory.js';
import { countsOf, pack, randomKey } from './parcel.js';
import { updateStatus } from './status.js';
import { announce } from './tabs.js';
import { upload } from './transport.js';
import { upToDate } from './watch.js';

/** @typedef {import('./parcel.js').Parcel} Parcel */
/** @typedef {import('./transport.js').Receipt} Receipt */

/** What such an answer says would be said of any backup. */
const NOT_THE_BASE = new Set([401, 403, 408, 429]);

/** @type {Promise<Receipt | null> | null} */
let running = null;

/** When a backup last failed here, by this clock, in milliseconds. */
let failedAt = 0;

/** @type {Parcel | null} what left with a hidden page, and got no answer that can be read */
let unanswered = null;

/**
 * Backs up everything that is stored, changed or not. While a backup runs, another call waits
 * for that one; a backup that another tab finishes meanwhile counts, if nothing changed since.
 *
 * @returns {Promise<Receipt>}
 * @throws {import('./errors.js').BackupError}
 */
export async function createBackup() {
  // What runs may be one that finds nothing to send: then this call's own follows.
  const joined = running ? await running : null;
  if (joined) return joined;
  // Also while another tab's backup is waited for: this one is under way.
  updateStatus({ status: 'backing-up', progress: 0 });
  return /** @type {Promise<Receipt>} */ (running ?? start(backUpAll));
}

/**
 * Backs up if something changed that the server doesn't have, and is not an empty database.
 *
 * @returns {Promise<Receipt | null>} null when there was nothing to do
 * @throws {import('./errors.js').BackupError}
 */
export function backUpChanges() {
  return running ?? start(backUpPending);
}

/**
 * Marks the records whose content is what the last acknowledged backups contained. A backup
 * does this by itself; this repeats it, as after a crash between the receipt and the marks.
 *
 * @returns {Promise<number>} how many were marked
 * @throws {import('./errors.js').BackupError}
 */
export async function markAsSynced() {
  await upToDate();
  const { known } = await recalled();
  const acknowledged = unsyncedEntries().filter(({ name, digest }) => {
    const has = known.get(name);
    return digest !== null && (digest === has?.digest || digest === has?.inBase);
  });
  return markSynced(acknowledged);
}

/** @param {(asked: number) => Promise<Receipt | null>} work */
function start(work) {
  running = guarded(work).finally(() => {
    running = null;
  });
  return running;
}

/** @param {(asked: number) => Promise<Receipt | null>} work */
async function guarded(work) {
  const asked = Date.now();
  try {
    return await exclusively(async () => {
      await refreshIfStale();
      return work(asked);
    });
  } catch (error) {
    failedAt = Date.now();
    updateStatus({ status: 'error', lastError: messageOf(error), progress: null });
    throw error;
  }
}

/**
 * Not in two tabs at once. Plain-http hosts have no locks; there the keys still make one backup
 * of the same state.
 *
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
async function exclusively(work) {
  if (!navigator.locks) return work();
  return navigator.locks.request('eoe-cloud-backup', work);
}

/** What another tab has backed up, it may not have told yet. */
async function refreshIfStale() {
  const [there, { last: here }] = [await last(), await recalled()];
  if (there?.receipt.id !== here?.receipt.id || there?.base !== here?.base) await refresh();
}

/** @param {number} asked when, by this clock, in milliseconds */
async function backUpAll(asked) {
  const entries = await look({ keep: true });
  const { last: earlier } = await recalled();
  const unsent = entries.find(({ error }) => error);
  if (unsent?.error) throw unsent.error;
  if (earlier && earlier.at >= asked && unsyncedEntries().length === 0) {
    return succeed(earlier.receipt);
  }
  return send(pack(entries, null, countsOf(entries), randomKey()));
}

async function backUpPending() {
  await upToDate();
  const next = parcel();
  if (next) return send(next).catch((error) => sendAllInstead(next, error));
  const { last: earlier } = await recalled();
  if (earlier && earlier.at > failedAt && failedAt > 0) succeed(earlier.receipt);
  return null;
}

/**
 * A base that is gone, or not what is thought of it: then all of it goes, once.
 *
 * @param {Parcel} refused
 * @param {unknown} error
 */
async function sendAllInstead({ base }, error) {
  const status = error instanceof BackupError ? (error.status ?? 0) : 0;
  if (base === null || status < 400 || status >= 500 || NOT_THE_BASE.has(status)) throw error;
  await forgetBase(base);
  await refresh();
  announce({ remembered: true });
  await look();
  const next = parcel();
  if (!next) throw error;
  return send(next);
}

/** @param {Parcel} sent without waiting for an answer */
export function expectNoAnswer(sent) {
  unanswered = sent;
}

/** @param {Parcel} next */
async function send(next) {
  updateStatus({ status: 'backing-up', progress: 0 });
  await settleUnanswered(next.key);
  const receipt = await upload(next, (progress) => updateStatus({ progress }));
  await confirm(next, receipt);
  announce({ remembered: true });
  await markSynced(next.entries.filter(({ flaggedUnsynced }) => flaggedUnsynced));
  await settled();
  return succeed(receipt);
}

/**
 * An older state that is still on its way must not be stored after a newer one, or the newest
 * backup would be the older state. Its receipt, here or there, says that it is stored already.
 *
 * @param {string} key of the state that is to follow
 */
async function settleUnanswered(key) {
  const earlier = unanswered;
  unanswered = null;
  if (!earlier || earlier.key === key) return;
  await upload(earlier, () => {});
}

/** @param {Receipt} receipt of this tab's backup, or of another's that has done what failed here */
function succeed(receipt) {
  failedAt = 0;
  updateStatus({
    status: 'success',
    lastBackupTime: receipt.timestamp,
    lastError: null,
    progress: null,
  });
  // A record that can't be sent is told of again.
  show();
  return receipt;
}
