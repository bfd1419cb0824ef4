/**
 * From stored records to what is sent, and to what two versions of a record are compared by.
 *
 * Sent: the record as stored, a voice note without its `audioBlob`. Compared: the same without
 * `synced`, which tells of the backup and is no content. A value that JSON would silently change
 * (a Date, a Map, NaN, a hole in an array) is an error that names the record; only a member that
 * is `undefined` is left out, since reading it back gives the same.
 */

import { FLAGGED, recordName } from './categories.js';
import { BackupError, messageOf } from './errors.js';
import { sha256 } from './sha256.js';

/** @typedef {import('./categories.js').Category} Category */
/** @typedef {import('./categories.js').StoredRecord} StoredRecord */
/**
 * @typedef {object} Entry One record as it is stored.
 * @property {Category} category
 * @property {IDBValidKey} key
 * @property {string} name see `recordName`
 * @property {string | null} json what is sent; null if there is no such record, or `error`
 * @property {string | null} digest of what is compared; null if there is no such record
 * @property {boolean} flaggedUnsynced it carries the flag, and not as true
 * @property {BackupError} [error] why it can't be sent
 */

/** The digest of a record that JSON can't hold; no backed up one has it. */
const NOT_JSON = 'not JSON';

/**
 * What two versions of a record are compared by, here or out of a backup.
 *
 * @param {Category} category
 * @param {StoredRecord} record
 * @returns {string}
 */
export function digestOf(category, record) {
  try {
    assertJson(withoutAudio(category, record));
  } catch {
    return NOT_JSON;
  }
  return sha256(comparedText(category, record));
}

/**
 * @param {Category} category
 * @param {StoredRecord} record
 */
export function isFlaggedUnsynced(category, record) {
  return FLAGGED.includes(category) && record.synced !== true;
}

/**
 * @param {Category} category
 * @param {IDBValidKey} key
 * @param {StoredRecord | null} record null: there is none
 * @returns {Entry}
 */
export function entryOf(category, key, record) {
  const name = recordName(category, key);
  const entry = { category, key, name, json: null, digest: null, flaggedUnsynced: false };
  if (record === null) return entry;
  try {
    const sent = withoutAudio(category, record);
    assertJson(sent);
    return {
      ...entry,
      json: JSON.stringify(sent),
      digest: sha256(comparedText(category, record)),
      flaggedUnsynced: isFlaggedUnsynced(category, record),
    };
  } catch (cause) {
    const error = new BackupError(`${name} can't be backed up: ${messageOf(cause)}`, { cause });
    return { ...entry, digest: NOT_JSON, error };
  }
}

/**
 * @param {Category} category
 * @param {StoredRecord} record
 */
function comparedText(category, record) {
  const compared = withoutAudio(category, record);
  if (!FLAGGED.includes(category)) return JSON.stringify(compared);
  const { synced, ...content } = compared;
  return JSON.stringify(content);
}

/**
 * @param {Category} category
 * @param {StoredRecord} record
 * @returns {StoredRecord}
 */
function withoutAudio(category, record) {
  if (category !== 'voiceNotes') return record;
  const { audioBlob, ...metadata } = record;
  return metadata;
}

/**
 * @param {unknown} value
 * @param {string} [path]
 * @param {Set<object>} [parents]
 * @throws {TypeError} naming the member that JSON can't hold
 */
function assertJson(value, path = '', parents = new Set()) {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return;
  const where = path || 'the record';
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError(`${where} is ${value}`);
    return;
  }
  if (typeof value !== 'object') throw new TypeError(`${where} is a ${typeof value}`);
  if (parents.has(value)) throw new TypeError(`${where} contains itself`);
  parents.add(value);
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1) {
      assertJson(value[index], `${path}[${index}]`, parents);
    }
  } else {
    assertPlain(value, where);
    for (const [name, member] of Object.entries(value)) {
      if (member !== undefined) assertJson(member, path ? `${path}.${name}` : name, parents);
    }
  }
  parents.delete(value);
}

/**
 * @param {object} value
 * @param {string} where
 */
function assertPlain(value, where) {
  const prototype = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return;
  throw new TypeError(`${where} is a ${value.constructor?.name ?? 'special object'}`);
}
