/**
 * What a restore would do, record by record. It decides, and writes nothing. README.md has the rule
 * by which a record is newer here.
 *
 * Each device numbers its voice notes from 1. Two are versions of one note only if `id`, `atomSlug`
 * and `createdAt` agree; one that is here under another number is the same; any other one whose
 * number is taken here gets a new number.
 */

import { CATEGORIES, KEY_PATHS, recordName } from './categories.js';
import { readAll } from './records.js';
import { digestOf } from './serialize.js';
import { turns } from './turns.js';

/** @import { Category, Client, Part } from './types.js' */
/** @import { Pending, Planned, PlannedRecord, StoredRecord } from './types.js' */

const TIME_MEMBERS = ['updatedAt', 'modifiedAt', 'lastModified', 'timestamp', 'createdAt', 'date'];

/** @param {Client} client @param {Part} part @returns {Promise<Planned[]>} */
export async function plan({ stores, tracker, pending }, { timestamp, data }) {
  await tracker.upToDate();
  const all = await readAll(stores);
  const turn = turns();
  const planned = [];
  for (const category of CATEGORIES) {
    const path = KEY_PATHS[category];
    const stored = new Map(all[category].map((record) => [nameOf(category, record), record]));
    const wanted = data[category] ?? [];
    const notes = category === 'voiceNotes' ? new Notes(all[category], wanted) : null;
    for (const inBackup of wanted) {
      const key = inBackup[path];
      const named = stored.get(nameOf(category, inBackup)) ?? null;
      const same = notes?.findElsewhere(inBackup, named);
      if (same) planned.push(entry(category, 'same', same, inBackup));
      else if (notes && named && !isOneNote(named, inBackup)) {
        const record = { ...inBackup, [path]: notes.nextNumber() };
        planned.push({ ...entry(category, 'add', null, inBackup), record, target: record[path] });
      } else {
        const action = named ? actionFor(category, named, inBackup, pending, timestamp) : 'add';
        planned.push({ ...entry(category, action, named, inBackup), target: key });
      }
      await turn();
    }
  }
  return planned;
}

/**
 * @param {Category} category @param {PlannedRecord['action']} action
 * @param {StoredRecord | null} here @param {StoredRecord} inBackup @returns {Planned}
 */
function entry(category, action, here, inBackup) {
  const key = inBackup[KEY_PATHS[category]];
  return { category, key, action, here, inBackup, record: inBackup, target: key };
}

/** The voice notes of this device, and the numbers that are free. */
class Notes {
  /** @param {StoredRecord[]} here @param {StoredRecord[]} inBackup */
  constructor(here, inBackup) {
    this.here = here;
    const numbers = [...here, ...inBackup].map(({ id }) => (Number.isInteger(id) ? id : 0));
    this.last = numbers.reduce((most, number) => Math.max(most, number), 0);
  }

  nextNumber() {
    this.last += 1;
    return this.last;
  }

  /**
   * @param {StoredRecord} note @param {StoredRecord | null} named the one with its number
   * @returns {StoredRecord | undefined} the same note under another number
   */
  findElsewhere(note, named) {
    if (note.createdAt === undefined || (named && isOneNote(named, note))) return undefined;
    return this.here.find((other) => isOneNote(other, note));
  }
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
 * @returns {boolean | null} null where nothing tells
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
