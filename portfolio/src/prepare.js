/**
 * The next backup, ready in memory: what is stored, serialised, gzipped and given its key, so
 * that it can be sent in the instant in which a page closes.
 */

import { readAll } from './database.js';
import { messageOf } from './errors.js';
import { acknowledged, last, pendingFor } from './memory.js';
import { bodyParts, serialize } from './serialize.js';
import { onConfigure } from './settings.js';
import { getBackupStatus, updateStatus } from './status.js';

/** @typedef {import('./memory.js').Acknowledged} Acknowledged */
/** @typedef {import('./serialize.js').Entry} Entry */
/** @typedef {import('./serialize.js').State} State */

/**
 * @typedef {object} Prepared
 * @property {string} key the parameter of `POST /api/backup`, see openapi.yaml
 * @property {State} state what is in it
 * @property {Blob} body its type is the Content-Type to send
 */

/**
 * @typedef {object} Survey
 * @property {State} state
 * @property {number} unsynced records added, edited or deleted
 * @property {(entry: Entry) => boolean} isUnsynced
 */

/** @type {Prepared | null} */
let ready = null;

/** Readings follow one another: an older one must never replace what a newer one prepared. */
let queue = Promise.resolve();

/** Whether the error that is shown is one of reading, which the next reading can take back. */
let unreadable = false;

onConfigure(() => {
  ready = null;
});

/** @returns {Prepared | null} null while there is nothing to send */
export function prepared() {
  return ready;
}

/**
 * Reads everything and prepares it, if it is not what the server has and not empty. The status
 * tells of a change when what to send is ready.
 *
 * @returns {Promise<Prepared | null>} null when there is nothing to send
 * @throws {import('./errors.js').BackupError}
 */
export function prepareChanges() {
  return inTurn(async () => {
    const taken = await take();
    const { state, unsynced } = taken;
    ready = unsynced === 0 || state.entries.length === 0 ? null : await assemble(state);
    await show(taken);
    return ready;
  });
}

/**
 * Reads everything and prepares it, changed or not, empty or not.
 *
 * @returns {Promise<Prepared>}
 * @throws {import('./errors.js').BackupError}
 */
export function prepareAll() {
  return inTurn(async () => {
    const taken = await take();
    await show(taken);
    return assemble(taken.state);
  });
}

/**
 * What is stored, and how much of that the server doesn't have. The status tells it too.
 *
 * @returns {Promise<Survey>}
 * @throws {import('./errors.js').BackupError}
 */
export function survey() {
  return inTurn(async () => {
    const taken = await take();
    await show(taken);
    return taken;
  });
}

/**
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
function inTurn(work) {
  const turn = queue.then(work).then(showReadable, showUnreadable);
  queue = turn.then(
    () => {},
    () => {},
  );
  return turn;
}

/**
 * @template T
 * @param {T} result
 */
function showReadable(result) {
  if (unreadable) {
    const { status } = getBackupStatus();
    updateStatus({ status: status === 'error' ? 'idle' : status, lastError: null });
  }
  unreadable = false;
  return result;
}

/** @param {unknown} error @returns {never} */
function showUnreadable(error) {
  unreadable = true;
  updateStatus({ status: 'error', lastError: messageOf(error), progress: null });
  throw error;
}

/** @returns {Promise<Survey>} */
async function take() {
  const state = await serialize(await readAll());
  const known = await acknowledged();
  /** @type {Survey['isUnsynced']} */
  const isUnsynced = (entry) => differsFromServer(entry, known.get(entry.name));
  const stored = new Set(state.entries.map((entry) => entry.name));
  const deleted = [...known.keys()].filter((name) => !stored.has(name)).length;
  const unsynced = state.entries.filter(isUnsynced).length + deleted;
  return { state, unsynced, isUnsynced };
}

/** @param {Survey} taken */
async function show({ state, unsynced }) {
  const lastBackupTime = (await last())?.receipt.timestamp ?? null;
  updateStatus({ unsyncedCount: unsynced, storedCount: state.entries.length, lastBackupTime });
}

/**
 * The flag alone can't tell: atoms have none, and a host may edit a record and leave it set.
 * The digest alone can't either: the flags are older than this client's memory.
 *
 * @param {Pick<Entry, 'category' | 'digest' | 'flaggedUnsynced'>} entry
 * @param {Acknowledged | undefined} known what the server has of it
 */
export function differsFromServer(entry, known) {
  if (known) return entry.flaggedUnsynced || entry.digest !== known.digest;
  return entry.category === 'atoms' || entry.flaggedUnsynced;
}

/**
 * @param {State} state
 * @returns {Promise<Prepared>}
 */
async function assemble(state) {
  const { key, clientTimestamp } = await pendingFor(state.digest);
  if (ready?.key === key) return { ...ready, state };
  const json = new Blob(bodyParts(state, clientTimestamp), { type: 'application/json' });
  return { key, state, body: await gzipped(json) };
}

/**
 * @param {Blob} json
 * @returns {Promise<Blob>} as it is where the browser can't compress
 */
async function gzipped(json) {
  if (typeof CompressionStream === 'undefined') return json;
  const stream = json.stream().pipeThrough(new CompressionStream('gzip'));
  const bytes = await new Response(stream).arrayBuffer();
  return new Blob([bytes], { type: 'application/gzip' });
}
