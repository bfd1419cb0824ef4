/**
 * Bringing records back out of a backup: planned and checked first, then written in one
 * transaction, and undone by one call.
 *
 * A record that is stored here with other contents is newer here if
 * 1. it is not backed up (see `getUnsyncedCount`), or else
 * 2. by the first of `updatedAt`, `modifiedAt`, `lastModified`, `timestamp`, `createdAt` and
 *    `date` that both versions have and differ in, it is the later one, or else, where there is
 *    no such member,
 * 3. its contents were first backed up after this backup was made, or nobody knows when.
 * It is a conflict, and stays as it is unless the caller says otherwise.
 */

import { CATEGORIES, FLAGGED, KEY_PATHS, recordName } from './categories.js';
import { differsFromServer } from './changes.js';
import { applyChanges, ChangedMeanwhile, readAll } from './database.js';
import { readPart } from './documents.js';
import { BackupError } from './errors.js';
import { acknowledged, keepUndoState, last, remember, undoState } from './memory.js';
import { digestOf, isFlaggedUnsynced } from './serialize.js';
import { turns } from './turns.js';
import { recount } from './watch.js';

/** @typedef {import('./categories.js').Category} Category */
/** @typedef {import('./categories.js').StoredRecord} StoredRecord */
/** @typedef {import('./database.js').Change} Change */
/** @typedef {import('./documents.js').Items} Items */
/** @typedef {import('./documents.js').Part} Part */
/** @typedef {import('./documents.js').Source} Source */
/** @typedef {import('./memory.js').Acknowledged} Acknowledged */

/**
 * @typedef {object} PlannedRecord
 * @property {Category} category
 * @property {IDBValidKey} key
 * @property {'add' | 'replace' | 'conflict' | 'same'} action `conflict`: it is newer here
 * @property {StoredRecord | null} here what is stored, null where nothing is
 * @property {StoredRecord} inBackup
 */

/**
 * @typedef {PlannedRecord & {name: string, digest: string | null}} Planned
 *   `digest`: of `inBackup`; null until it is needed, since that takes time
 */

/** @typedef {'keep' | 'replace'} Choice */

/**
 * @typedef {object} RestoreOptions
 * @property {Choice | ((record: PlannedRecord) => Choice | Promise<Choice>)} [conflicts] what
 *   becomes of a record that is newer here; `keep` by default
 */

/** @typedef {{category: Category, key: IDBValidKey}} RecordReference */

/**
 * @typedef {object} RestoreResult
 * @property {string} id of the backup
 * @property {RecordReference[]} added
 * @property {RecordReference[]} replaced
 * @property {RecordReference[]} kept because they are newer here
 * @property {RecordReference[]} same as in the backup already
 */

const TIME_MEMBERS = ['updatedAt', 'modifiedAt', 'lastModified', 'timestamp', 'createdAt', 'date'];

/** How often a restore starts over because records change while it decides. */
const PLANS = 5;

/**
 * What `restoreFromBackup` would do, record by record. Writes nothing.
 *
 * @param {Source} source
 * @param {Items} [items]
 * @returns {Promise<PlannedRecord[]>}
 * @throws {BackupError}
 */
export async function previewRestore(source, items) {
  const planned = await plan(await readPart(source, items));
  return planned.map(({ name, digest, ...record }) => record);
}

/**
 * Restores what is chosen: all that the plan says, or, on any failure, nothing. Records that are
 * not in the backup stay. Restored records count as synced if the server has sent them just now;
 * what comes from a file may be nowhere else, and is sent with the next backup.
 *
 * @param {Source} source
 * @param {Items} [items]
 * @param {RestoreOptions} [options]
 * @returns {Promise<RestoreResult>}
 * @throws {BackupError}
 */
export async function restoreFromBackup(source, items, { conflicts = 'keep' } = {}) {
  const part = await readPart(source, items);
  for (let left = PLANS; ; left -= 1) {
    const planned = await plan(part);
    const toWrite = await chosen(planned, conflicts, part.onServer);
    try {
      await write(part, planned, toWrite);
    } catch (error) {
      if (error instanceof ChangedMeanwhile && left > 1) continue;
      throw restoreError(error);
    }
    await recount();
    return result(part.id, planned, toWrite);
  }
}

/**
 * Brings back what the last restore replaced and removes what it added. What was edited since
 * the restore is kept, unless `conflicts` says `replace`.
 *
 * @param {{conflicts?: Choice}} [options]
 * @returns {Promise<{undone: RecordReference[], kept: RecordReference[]}>}
 * @throws {BackupError} also when there is nothing to undo
 */
export async function undoRestore({ conflicts = 'keep' } = {}) {
  const undo = await undoState();
  if (!undo) throw new BackupError('There is no restore to undo');
  const noBackupSince = ((await last())?.receipt.id ?? null) === undo.lastId;
  for (let left = PLANS; ; left -= 1) {
    const changes = await retarget(undo.changes, conflicts);
    try {
      await applyChanges(noBackupSince ? changes : changes.map(asUnsynced));
    } catch (error) {
      if (error instanceof ChangedMeanwhile && left > 1) continue;
      throw restoreError(error);
    }
    const undone = new Set(changes.map(nameOf));
    const kept = undo.changes.filter((change) => !undone.has(nameOf(change)));
    const keptNames = new Set(kept.map(nameOf));
    const known = undo.acknowledged.filter(([name]) => !keptNames.has(name));
    // A backup made since then holds what was restored; what comes back is in none after it.
    await remember(noBackupSince ? known : known.map(([name, was]) => [name, was && stale(was)]));
    await keepUndoState(undefined);
    await recount();
    return { undone: changes.map(reference), kept: kept.map(reference) };
  }
}

/** @returns {Promise<{backupId: string, restoredAt: string} | null>} what can be undone */
export async function getUndo() {
  const undo = await undoState();
  return undo ? { backupId: undo.backupId, restoredAt: undo.restoredAt } : null;
}

/**
 * @param {Part} part
 * @returns {Promise<Planned[]>}
 */
async function plan({ timestamp, data }) {
  const stores = await readAll();
  const known = await acknowledged();
  const turn = turns();
  const planned = [];
  for (const category of CATEGORIES) {
    const stored = new Map(
      stores[category].map((record) => [nameOfStored(category, record), record]),
    );
    for (const inBackup of data[category] ?? []) {
      const key = inBackup[KEY_PATHS[category]];
      const name = recordName(category, key);
      const here = stored.get(name) ?? null;
      const digest = here && digestOf(category, inBackup);
      const action = actionFor({ category, here, inBackup, digest }, known.get(name), timestamp);
      planned.push({ category, key, action, here, inBackup, name, digest });
      await turn();
    }
  }
  return planned;
}

/**
 * @param {Pick<Planned, 'category' | 'here' | 'inBackup' | 'digest'>} record
 * @param {Acknowledged | undefined} known
 * @param {string} madeAt
 * @returns {PlannedRecord['action']}
 */
function actionFor({ category, here, inBackup, digest: theirs }, known, madeAt) {
  if (!here) return 'add';
  const digest = digestOf(category, here);
  if (digest === theirs) return 'same';
  const flaggedUnsynced = isFlaggedUnsynced(category, here);
  if (differsFromServer({ category, digest, flaggedUnsynced }, known)) return 'conflict';
  const later = laterHere(here, inBackup) ?? (!known || instant(known.since) > instant(madeAt));
  return later ? 'conflict' : 'replace';
}

/**
 * @param {StoredRecord} here
 * @param {StoredRecord} inBackup
 * @returns {boolean | null} null where nothing tells
 */
function laterHere(here, inBackup) {
  for (const member of TIME_MEMBERS) {
    const [ours, theirs] = [instant(here[member]), instant(inBackup[member])];
    if (!Number.isNaN(ours) && !Number.isNaN(theirs) && ours !== theirs) return ours > theirs;
  }
  return null;
}

/**
 * @param {unknown} value ISO 8601, or milliseconds since 1970
 * @returns {number} NaN for anything else
 */
function instant(value) {
  if (typeof value === 'number') return value;
  return typeof value === 'string' ? Date.parse(value) : NaN;
}

/**
 * @param {Planned[]} planned
 * @param {NonNullable<RestoreOptions['conflicts']>} conflicts
 * @param {boolean} onServer then also what is the same, to be marked as synced
 * @returns {Promise<Set<Planned>>} what is to be written
 */
async function chosen(planned, conflicts, onServer) {
  const toWrite = new Set();
  for (const record of planned) {
    let { action } = /** @type {{action: string}} */ (record);
    if (action === 'conflict') {
      const { name, digest, ...shown } = record;
      action = typeof conflicts === 'function' ? await conflicts(shown) : conflicts;
      if (action !== 'keep' && action !== 'replace') {
        throw new BackupError('conflicts: neither keep nor replace was chosen');
      }
    }
    const unmarked = onServer && isFlaggedUnsynced(record.category, record.here ?? {});
    if (action !== 'keep' && (action !== 'same' || unmarked)) toWrite.add(record);
  }
  return toWrite;
}

/**
 * @param {Part} part
 * @param {Planned[]} planned
 * @param {Set<Planned>} toWrite
 */
async function write({ id, timestamp, onServer }, planned, toWrite) {
  const inBackup = planned.filter((record) => record.action === 'same' || toWrite.has(record));
  const digests = await digestsOf(inBackup);
  const records = [...toWrite];
  const remembered = async () => {
    if (!onServer) return;
    await remember([...digests].map(([{ name }, digest]) => [name, { digest, since: timestamp }]));
  };
  // What changes nothing takes no place of an earlier restore that can still be undone.
  if (records.length === 0) return remembered();
  const known = await acknowledged();
  const earlier = await undoState();
  // On disk before the first write: there is no moment without a way back.
  await keepUndoState({
    backupId: id,
    restoredAt: new Date().toISOString(),
    lastId: (await last())?.receipt.id ?? null,
    changes: records.map((record) => {
      const { category, key, here } = record;
      return { category, key, expected: digests.get(record) ?? null, record: here };
    }),
    acknowledged: inBackup.map(({ name }) => [name, known.get(name) ?? null]),
  });
  try {
    await applyChanges(
      records.map(({ category, key, here, inBackup: record }) => {
        const expected = here && digestOf(category, here);
        return { category, key, expected, record: flagged(category, record, onServer) };
      }),
    );
  } catch (error) {
    await keepUndoState(earlier);
    throw error;
  }
  return remembered();
}

/**
 * @param {Planned[]} records
 * @returns {Promise<Map<Planned, string>>} what each is in the backup
 */
async function digestsOf(records) {
  const turn = turns();
  const digests = new Map();
  for (const record of records) {
    digests.set(record, record.digest ?? digestOf(record.category, record.inBackup));
    await turn();
  }
  return digests;
}

/**
 * @param {Category} category
 * @param {StoredRecord} record
 * @param {boolean} synced
 */
function flagged(category, record, synced) {
  return FLAGGED.includes(category) ? { ...record, synced } : record;
}

/** @param {Change} change */
function asUnsynced(change) {
  return change.record
    ? { ...change, record: flagged(change.category, change.record, false) }
    : change;
}

/** @param {Acknowledged} known */
function stale(known) {
  return { ...known, digest: 'not in the last backup' };
}

/**
 * @param {Category} category
 * @param {StoredRecord} record
 */
function nameOfStored(category, record) {
  return recordName(category, record[KEY_PATHS[category]]);
}

/** @param {RecordReference} record */
function nameOf({ category, key }) {
  return recordName(category, key);
}

/**
 * @param {Change[]} changes
 * @param {Choice} conflicts
 * @returns {Promise<Change[]>} those to make, expecting what is stored now
 */
async function retarget(changes, conflicts) {
  const stores = await readAll();
  const digests = new Map(
    CATEGORIES.flatMap((category) =>
      stores[category].map((record) => [
        nameOfStored(category, record),
        digestOf(category, record),
      ]),
    ),
  );
  return changes.flatMap((change) => {
    const now = digests.get(recordName(change.category, change.key)) ?? null;
    if (now !== change.expected && conflicts === 'keep') return [];
    return [{ ...change, expected: now }];
  });
}

/**
 * @param {string} id
 * @param {PlannedRecord[]} planned
 * @param {Set<PlannedRecord>} written
 * @returns {RestoreResult}
 */
function result(id, planned, written) {
  const those = (/** @type {(record: PlannedRecord) => boolean} */ test) =>
    planned.filter(test).map(reference);
  return {
    id,
    added: those(({ action }) => action === 'add'),
    replaced: those(
      (record) => ['replace', 'conflict'].includes(record.action) && written.has(record),
    ),
    kept: those((record) => record.action === 'conflict' && !written.has(record)),
    same: those(({ action }) => action === 'same'),
  };
}

/** @param {RecordReference} record @returns {RecordReference} */
function reference({ category, key }) {
  return { category, key };
}

/** @param {unknown} error */
function restoreError(error) {
  if (!(error instanceof ChangedMeanwhile)) return error;
  return new BackupError(`${error.message} kept changing during the restore: nothing was written`, {
    cause: error,
  });
}
