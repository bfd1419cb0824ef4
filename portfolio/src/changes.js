/**
 * What is stored here and differs from the last acknowledged backup, the base: in memory, record
 * by record, as the text to send, so that it can leave in the instant in which a page closes.
 *
 * It follows from the writes that are seen. What can't be seen is found by a look through
 * everything, in short turns; what is written meanwhile counts, not what the look had read.
 */

import { KEY_PATHS, referenceOf } from './categories.js';
import { readBatches, readRecords } from './database.js';
import { messageOf } from './errors.js';
import { acknowledge, recall } from './memory.js';
import { countsOf, keyOf, pack } from './parcel.js';
import { entryOf } from './serialize.js';
import { onConfigure } from './settings.js';
import { getBackupStatus, updateStatus } from './status.js';
import { turns } from './turns.js';

/** @typedef {import('./database.js').Reference} Reference */
/** @typedef {import('./memory.js').Acknowledged} Acknowledged */
/** @typedef {import('./memory.js').Memory} Memory */
/** @typedef {import('./parcel.js').Counts} Counts */
/** @typedef {import('./parcel.js').Parcel} Parcel */
/** @typedef {import('./serialize.js').Entry} Entry */
/** @typedef {import('./transport.js').Receipt} Receipt */
/** @typedef {import('./writes.js').Write} Write */

/** How long what a transaction wrote is read at its completion, in milliseconds. */
const AT_ONCE = 20;

/** What is sent, or compressed, without being missed: texts of so many characters. */
const SMALL = 512 * 1024;

/** @type {Map<string, Entry>} what differs from the base or is unsynced, by record name */
const pending = new Map();

/** @type {Memory | null} null until it was recalled */
let memory = null;

/** Whether `pending` is all there is. */
let complete = false;

/** How often it was not, so far. */
let doubts = 0;

/** @type {Write[]} seen, and not yet in `pending` */
let written = [];

/** @type {Promise<void> | null} while there are too many of them for one turn */
let reading = null;

/** @type {Map<string, Entry> | null} what was written during the look that runs */
let meanwhile = null;

/** Looks follow one another. */
let queue = Promise.resolve();

/** @type {{ended: Promise<Entry[]>, doubted: number} | null} the last of them, while it runs */
let looking = null;

/** @type {{parcel: Parcel | null} | null} of what is pending now */
let packed = null;

/** Whether `pending` has changed since that was told. */
let altered = false;

/** @type {string | null} why the last look failed */
let unreadable = null;

/** @type {string | null} what is shown of why something can't be read or sent */
let problem = null;

/** @type {() => void} */
let changed = () => {};

onConfigure(() => {
  packed = null;
});

/** @param {() => void} listener called when what is pending has changed */
export function onChange(listener) {
  changed = listener;
  altered = true;
}

/** @returns {boolean} whether all that differs is known */
export function isComplete() {
  return complete;
}

/** Says that something was written, and nobody saw what: only a look can tell. */
export function doubt() {
  doubts += 1;
  complete = false;
}

/** @param {Write[]} writes of a transaction that has completed */
export function take(writes) {
  for (const write of writes) written.push(write);
  if (reading) return;
  readWritten(performance.now() + AT_ONCE);
  if (written.length === 0) show();
  else settled().catch(() => {});
}

/** @returns {Promise<void>} when all writes that were seen are counted in */
export async function settled() {
  reading ??= readAllWritten().finally(() => {
    reading = null;
  });
  await reading;
  show();
}

/** @param {Reference[]} references records that somebody else wrote */
export async function reread(references) {
  const records = await readRecords(references);
  take(references.map((reference, index) => ({ ...reference, record: records[index] })));
  await settled();
}

/**
 * Looks through everything that is stored.
 *
 * @param {{keep?: boolean}} [options] `keep`: also what does not differ
 * @returns {Promise<Entry[]>} as of the moment when this resolves
 * @throws {import('./errors.js').BackupError} when it can't be read
 */
export function look({ keep = false } = {}) {
  const ended = queue.then(() => lookUntilSure(keep));
  looking = { ended, doubted: doubts };
  queue = ended.then(() => {}, () => {});
  return ended;
}

/**
 * @returns {Promise<Entry[]> | null} the look that runs, if nobody has doubted anything since
 */
export function lookUnderWay() {
  return looking?.doubted === doubts ? looking.ended : null;
}

/** Takes in what this tab, or another one, has remembered since. */
export async function refresh() {
  await adopt(await recall());
}

/** @returns {Promise<Memory>} */
export async function recalled() {
  if (!memory) await refresh();
  return /** @type {Memory} */ (memory);
}

/**
 * Remembers what the server has acknowledged.
 *
 * @param {Parcel} parcel
 * @param {Receipt} receipt
 */
export async function confirm({ base, entries }, receipt) {
  const { known } = await recalled();
  const since = (/** @type {Entry} */ { name, digest }) => {
    const earlier = known.get(name);
    return earlier?.digest === digest ? earlier.since : receipt.timestamp;
  };
  /** @type {Map<string, Acknowledged | null>} */
  const acknowledged = new Map();
  for (const entry of entries) {
    const { name, digest } = entry;
    const kept = digest ? { digest, since: since(entry), inBase: digest } : null;
    acknowledged.set(name, kept);
  }
  const last = { receipt, at: Date.now(), base: true };
  if (!(await acknowledge(acknowledged, last, base))) return refresh();
  const next = new Map(base === null ? [] : known);
  for (const [name, entry] of acknowledged) {
    if (entry) next.set(name, entry);
    else next.delete(name);
  }
  return adopt({ known: next, last, after: receipt.id });
}

/** @returns {Parcel | null} what to send; null while that is nothing, or not yet known */
export function parcel() {
  while (written.length > 0 && isSmall()) readWritten(0);
  packed ??= { parcel: packPending() };
  return packed.parcel;
}

/** @returns {boolean} whether what is pending can be sent, or compressed, in a moment */
export function isSmall() {
  return pendingSize() <= SMALL;
}

/** @returns {number} the length of what is pending, about that of the parcel's body */
export function pendingSize() {
  let size = 0;
  for (const { json } of pending.values()) size += json?.length ?? 0;
  return size;
}

/** @returns {Entry[]} what was added, edited or deleted since the last acknowledged backup */
export function unsyncedEntries() {
  return [...pending.values()].filter(isUnsynced);
}

/**
 * The flag alone can't tell: atoms have none, and a host may edit a record and leave it set.
 * The digest alone can't either: the flags are older than this client's memory.
 *
 * @param {Pick<Entry, 'category' | 'digest' | 'flaggedUnsynced'>} entry
 * @param {Acknowledged | undefined} known what the server has of it
 */
export function differsFromServer(entry, known) {
  if (!known) return entry.category === 'atoms' || entry.flaggedUnsynced;
  if (entry.flaggedUnsynced) return true;
  return entry.digest !== known.digest && entry.digest !== known.inBase;
}

/** @param {Entry} entry of what is pending */
function isUnsynced(entry) {
  const known = memory?.known.get(entry.name);
  if (entry.error) return true;
  if (entry.digest !== null) return differsFromServer(entry, known);
  // What came and went since the base was made is no difference; without one, nobody knows.
  return baseId() === null ? known !== undefined : known?.inBase !== undefined;
}

/** @param {Entry} entry */
function matters(entry) {
  return isUnsynced(entry) || entry.digest !== (inBase(entry.name) ?? null);
}

/** @param {string} name */
function inBase(name) {
  return memory?.known.get(name)?.inBase;
}

/** @returns {string | null} */
function baseId() {
  return memory?.last?.base ? memory.last.receipt.id : null;
}

/** @param {Entry} entry */
function sort(entry) {
  packed = null;
  const before = pending.get(entry.name);
  if (!matters(entry)) return drop(entry.name);
  pending.set(entry.name, entry);
  if (before?.digest !== entry.digest) altered = true;
}

/** @param {string} name */
function drop(name) {
  packed = null;
  if (pending.delete(name)) altered = true;
}

async function readAllWritten() {
  await recalled();
  const turn = turns();
  for (; written.length > 0; await turn()) readWritten(performance.now() + 5);
}

/** @param {number} end of `performance.now()`; one is read in any case */
function readWritten(end) {
  if (!memory) return;
  let count = 0;
  while (count < written.length && (count === 0 || performance.now() < end)) {
    const { category, key, record } = written[count];
    const entry = entryOf(category, key, record);
    meanwhile?.set(entry.name, entry);
    sort(entry);
    count += 1;
  }
  written = written.slice(count);
}

/** @param {boolean} keep */
async function lookUntilSure(keep) {
  try {
    let found = null;
    while (!found) found = await lookOnce(keep);
    unreadable = null;
    show();
    return found;
  } catch (error) {
    unreadable = messageOf(error);
    show();
    throw error;
  } finally {
    meanwhile = null;
    looking = null;
  }
}

/**
 * @param {boolean} keep
 * @returns {Promise<Entry[] | null>} null when the base has changed on the way
 */
async function lookOnce(keep) {
  await settled();
  const [base, doubted] = [baseId(), doubts];
  meanwhile = new Map();
  /** @type {Map<string, Entry | null>} null: nothing differs */
  const all = new Map();
  const turn = turns();
  await readBatches(async (category, records) => {
    for (const record of records) {
      const entry = entryOf(category, record[KEY_PATHS[category]], record);
      all.set(entry.name, keep || matters(entry) ? entry : null);
      await turn();
    }
  });
  await settled();
  if (baseId() !== base) return null;
  for (const [name, entry] of meanwhile) {
    if (entry.digest === null) all.delete(name);
    else all.set(name, entry);
  }
  const found = [...all.values()].flatMap((entry) => entry ?? []);
  found.forEach(sort);
  const deleted = [...(memory?.known.keys() ?? [])].filter((name) => !all.has(name));
  for (const { category, key } of deleted.map(referenceOf)) sort(entryOf(category, key, null));
  const remain = new Set([...found.map(({ name }) => name), ...deleted]);
  [...pending.keys()].filter((name) => !remain.has(name)).forEach(drop);
  complete = doubts === doubted;
  return found;
}

/**
 * What is stored is compared with another base from now on. Where what that holds has changed,
 * and the record here has not, it is read again.
 *
 * @param {Memory} next
 */
async function adopt(next) {
  const [earlier, earlierBase] = [memory, baseId()];
  memory = next;
  packed = null;
  if (earlierBase !== null && baseId() === null) doubt();
  const names = new Set([...(earlier?.known.keys() ?? []), ...next.known.keys()]);
  const other = [...names].filter((name) => {
    return !pending.has(name) && earlier?.known.get(name)?.inBase !== inBase(name);
  });
  [...pending.values()].forEach(sort);
  if (complete && other.length > 0) await reread(other.map(referenceOf));
  else show();
}

/** @returns {Parcel | null} */
function packPending() {
  const base = baseId();
  if (!memory || (base === null && !complete)) return null;
  const unsynced = unsyncedEntries().filter(({ error }) => !error);
  const counts = countsStored();
  // An emptied database is not sent by itself.
  if (unsynced.length === 0 || sum(counts) === 0) return null;
  const entries = [...pending.values()].filter(({ error, json }) => {
    return !error && (base !== null || json !== null);
  });
  return pack(entries, base, counts, keyOf(entries, base, memory.after));
}

/** @returns {Counts} of all that is stored and can be sent */
function countsStored() {
  const counts = countsOf([]);
  if (baseId() !== null) Object.assign(counts, memory?.last?.receipt.counts);
  for (const { category, name, json, error } of pending.values()) {
    if (!error) counts[category] += Number(json !== null) - Number(inBase(name) !== undefined);
  }
  return counts;
}

/** @param {Counts} counts */
function sum(counts) {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

/** Tells by the status event how things stand. */
export function show() {
  const errors = [...pending.values()].flatMap(({ error, name }) => (error ? [{ error, name }] : []));
  tell(unreadable ?? errors[0]?.error.message ?? null);
  updateStatus({ lastBackupTime: memory?.last?.receipt.timestamp ?? null });
  if (complete) {
    const added = errors.filter(({ name }) => inBase(name) === undefined).length;
    const storedCount = sum(countsStored()) + added;
    updateStatus({ unsyncedCount: unsyncedEntries().length, storedCount });
  }
  if (altered) changed();
  altered = false;
}

/** @param {string | null} message why something can't be read or sent; null takes that back */
function tell(message) {
  const { status } = getBackupStatus();
  const busy = status === 'backing-up';
  if (message !== null) updateStatus({ status: busy ? status : 'error', lastError: message });
  else if (problem !== null) {
    updateStatus({ status: status === 'error' ? 'idle' : status, lastError: null });
  }
  problem = message;
}
