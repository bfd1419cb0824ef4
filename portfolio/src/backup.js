/**
 * One backup at a time: collected, sent, acknowledged, marked.
 */

import { markSynced } from './database.js';
import { messageOf } from './errors.js';
import { acknowledge, acknowledged, last } from './memory.js';
import { prepareAll, prepareChanges } from './prepare.js';
import { updateStatus } from './status.js';
import { announce } from './tabs.js';
import { upload } from './transport.js';

/** @typedef {import('./prepare.js').Prepared} Prepared */
/** @typedef {import('./transport.js').Receipt} Receipt */

/** @type {Promise<Receipt | null> | null} */
let running = null;

/** When a backup last failed here, by this clock, in milliseconds. */
let failedAt = 0;

/** @type {Prepared | null} what left with a hidden page, and got no answer that can be read */
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
  return /** @type {Promise<Receipt>} */ (running ?? start(prepareAll));
}

/**
 * Backs up if something changed that the server doesn't have, and is not an empty database.
 *
 * @returns {Promise<Receipt | null>} null when there was nothing to do
 * @throws {import('./errors.js').BackupError}
 */
export function backUpChanges() {
  return running ?? start(prepareChanges);
}

/**
 * Marks the records whose content is what the last acknowledged backups contained. A backup
 * does this by itself; this repeats it, as after a crash between the receipt and the marks.
 *
 * @returns {Promise<number>} how many were marked
 * @throws {import('./errors.js').BackupError}
 */
export async function markAsSynced() {
  return markSynced(await acknowledged());
}

/** @param {() => Promise<Prepared | null>} prepare */
function start(prepare) {
  running = guarded(prepare).finally(() => {
    running = null;
  });
  return running;
}

/** @param {() => Promise<Prepared | null>} prepare */
async function guarded(prepare) {
  const asked = Date.now();
  try {
    return await exclusively(() => backUp(prepare, asked));
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

/**
 * @param {() => Promise<Prepared | null>} prepare
 * @param {number} asked
 * @returns {Promise<Receipt | null>}
 */
async function backUp(prepare, asked) {
  const next = await prepare();
  const earlier = await last();
  if (!next) {
    if (earlier && earlier.at > failedAt && failedAt > 0) succeed(earlier.receipt);
    return null;
  }
  if (earlier && earlier.at >= asked && earlier.digest === next.state.digest) {
    succeed(earlier.receipt);
    return earlier.receipt;
  }
  return send(next);
}

/** @param {Prepared} sent without waiting for an answer */
export function expectNoAnswer(sent) {
  unanswered = sent;
}

/** @param {Prepared} next */
async function send({ key, body, state }) {
  updateStatus({ status: 'backing-up', progress: 0 });
  await settleUnanswered(key);
  const receipt = await upload(key, body, state.counts, (progress) => updateStatus({ progress }));
  await acknowledge(state, key, receipt);
  await markAsSynced();
  announce();
  // What was edited during the upload is the next backup; if it can't be, that is shown.
  await prepareChanges().then(() => succeed(receipt), () => {});
  return receipt;
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
  await upload(earlier.key, earlier.body, earlier.state.counts, () => {});
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
}
