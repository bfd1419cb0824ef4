/**
 * From stored records to what is sent, and to what two versions of a record are compared by.
 *
 * Sent: the record as stored, a voice note without its `audioBlob`. Compared: the same without
 * `synced`, which is about the backup and is no content. A value that JSON would silently change
 * (a Date, a Map, NaN, a hole in an array) is an error that names the record; only a member that
 * is `undefined` is left out, since reading it back gives the same.
 */

import { FLAGGED, recordName } from './categories.js';
import { BackupError, messageOf } from './errors.js';
import { sha256 } from './digests.js';

/** @import { Category, Entry, StoredRecord } from './types.js' */

/** The digest of a record that JSON can't hold; no record in a backup has it. */
const NOT_JSON = 'not JSON';

/** @param {Category} category @param {StoredRecord} record here or out of a backup */
export function digestOf(category, record) {
  return entryOf(category, '', record).digest ?? NOT_JSON;
}

/**
 * @param {Category} category @param {IDBValidKey} key
 * @param {StoredRecord | null} record null: there is none @returns {Entry}
 */
export function entryOf(category, key, record) {
  const name = recordName(category, key);
  if (record === null) return { category, key, name, json: null, digest: null, flag: null };
  const { audioBlob, ...withoutAudio } = record;
  const sent = category === 'voiceNotes' ? withoutAudio : record;
  const { synced, ...content } = sent;
  const isFlagged = FLAGGED.includes(category);
  const flag = isFlagged ? synced === true : null;
  try {
    const digest = sha256(JSON.stringify(isFlagged ? content : sent, refuse));
    return { category, key, name, json: JSON.stringify(sent), digest, flag };
  } catch (cause) {
    const error = new BackupError(`${name} can't be backed up: ${messageOf(cause)}`, { cause });
    return { category, key, name, json: null, digest: NOT_JSON, flag, error };
  }
}

/**
 * For `JSON.stringify`, which itself refuses a bigint and an object that contains itself.
 *
 * @this {any} @param {string} member
 * @param {unknown} value which may be what a Date's `toJSON` made of it
 * @throws {TypeError} for a value that JSON can't hold
 */
function refuse(member, value) {
  const stored = this[member];
  if (typeof stored === 'number' && !Number.isFinite(stored)) {
    throw new TypeError(`${member} is ${stored}`);
  }
  const isHole = stored === undefined && Array.isArray(this);
  if (isHole || typeof stored === 'function' || typeof stored === 'symbol') {
    throw new TypeError(`${member} is a ${typeof stored}`);
  }
  if (typeof stored !== 'object' || stored === null || Array.isArray(stored)) return value;
  const prototype = Object.getPrototypeOf(stored);
  if (prototype === Object.prototype || prototype === null) return value;
  throw new TypeError(`${member} is a ${stored.constructor?.name ?? 'special object'}`);
}
