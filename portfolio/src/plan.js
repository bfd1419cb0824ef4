/**
 * What a restore would do, record by record. It decides, and writes nothing. README.md has the rule
 * by which a record is newer here.
 *
 * Each device numbers its voice notes from 1. Two are versions of one note only if `id`, `atomSlug`
 * and `createdAt` agree; a note that is here under another number is the same; any other one whose
 * number is taken here gets a new number.
 */

import { CATEGORIES, KEY_PATHS, recordName } from './categories.js';
import { readBatches } from './records.js';
import { digestOf } from './serialize.js';
import { turns } from './turns.js';

/** @import { Category, Client, Part } from './types.js' */
/** @import { Pending, Planned, PlannedRecord, StoredRecord } from './types.js' */

const TIME_MEMBERS = ['updatedAt', 'modifiedAt', 'lastModified', 'timestamp', 'createdAt', 'date'];

/** @param {Client} client @param {Part} part @returns {Promise<Planned[]>} */
export async function plan({ stores, tracker, pending }, { timestamp, data }) {
  await tracker.upToDate();
  /** @type {Record<string, StoredRecord[]>} */
  const all = Object.fromEntries(CATEGORIES.map((category) => [category, []]));
  for await (const { category, records } of readBatches(stores)) all[category].push(...records);
  const turn = turns();
  const planned = [];
  for (const category of CATEGORIES) {
    const [stored, wanted, path] = [all[category], data[category] ?? [], KEY_PATHS[category]];
    const byName = new Map(stored.map((record) => [nameOf(category, record), record]));
    let number = [...stored, ...wanted].reduce(largest, 0);
    for (const inBackup of wanted) {
      const [key, named] = [inBackup[path], byName.get(nameOf(category, inBackup)) ?? null];
      const isOther = category === 'voiceNotes' && !(named && isOneNote(named, inBackup));
      const isDated = isOther && inBackup.createdAt !== undefined;
      const twin = (isDated && stored.find((note) => isOneNote(note, inBackup))) || null;
      const here = isOther ? twin : named;
      let action = here ? actionFor(category, here, inBackup, pending, timestamp) : 'add';
      if (twin) action = 'same';
      const target = isOther && named && !twin ? (number += 1) : key;
      const record = { ...inBackup, [path]: target };
      planned.push({ category, key, action, here, inBackup, record, target });
      await turn();
    }
  }
  return planned;
}

/** @param {number} most @param {StoredRecord} note */
function largest(most, { id }) {
  return Number.isInteger(id) ? Math.max(most, id) : most;
}

/** @param {StoredRecord} one @param {StoredRecord} other */
function isOneNote(one, other) {
  return one.atomSlug === other.atomSlug && one.createdAt === other.createdAt;
}

/**
 * @param {Category} category @param {StoredRecord} here @param {StoredRecord} inBackup
 * @param {Pending} pending @param {string} madeAt @returns {PlannedRecord['action']}
 */
function actionFor(category, here, inBackup, pending, madeAt) {
  const [name, digest] = [nameOf(category, here), digestOf(category, here)];
  if (digest === digestOf(category, inBackup)) return 'same';
  if (!pending.isBackedUp(name, digest)) return 'conflict';
  const isLater =
    laterHere(here, inBackup) ?? instant(pending.since(name, digest)) > instant(madeAt);
  return isLater ? 'conflict' : 'replace';
}

/**
 * @param {StoredRecord} here @param {StoredRecord} inBackup
 * @returns {boolean | null} null where nothing shows it
 */
function laterHere(here, inBackup) {
  for (const member of TIME_MEMBERS) {
    const [ours, theirs] = [instant(here[member]), instant(inBackup[member])];
    if (!Number.isNaN(ours) && !Number.isNaN(theirs) && ours !== theirs) return ours > theirs;
  }
  return null;
}

/** @param {unknown} value ISO 8601, or milliseconds since 1970 @returns {number} else NaN */
function instant(value) {
  if (typeof value === 'number') return value;
  return typeof value === 'string' ? Date.parse(value) : NaN;
}

/** @param {Category} category @param {StoredRecord} record */
function nameOf(category, record) {
  return recordName(category, record[KEY_PATHS[category]]);
}
