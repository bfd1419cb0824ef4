/**
 * From stored records to what is sent, and to what two versions of a record are compared by.
 *
 * Sent: the record as stored, a voice note without its `audioBlob`. Compared: the same without
 * `synced`, which tells of the backup and is no content. A value that JSON would silently change
 * (a Date, a Map, NaN, a hole in an array) is an error that names the record; only a member that
 * is `undefined` is left out, since reading it back gives the same.
 */

import { CATEGORIES, FLAGGED, KEY_PATHS, recordName } from './categories.js';
import { BackupError, messageOf } from './errors.js';
import { sha256 } from './sha256.js';

/** @typedef {import('./categories.js').Category} Category */
/** @typedef {import('./categories.js').StoredRecord} StoredRecord */
/** @typedef {Record<Category, StoredRecord[]>} Stores */

/**
 * @typedef {object} Entry One record as it was read.
 * @property {Category} category
 * @property {IDBValidKey} key
 * @property {string} name see `recordName`
 * @property {string} json what is sent
 * @property {string} digest of what is compared
 * @property {boolean} flaggedUnsynced it carries the flag, and not as true
 */

/**
 * @typedef {object} State Everything that was stored at one moment.
 * @property {Entry[]} entries in the order in which they are sent
 * @property {Record<Category, number>} counts
 * @property {string} digest of all of it; the same content has the same one
 */

/** How long records are serialised before the page gets a turn, in milliseconds. */
const SLICE = 12;

/**
 * @param {Stores} stores
 * @returns {Promise<State>}
 * @throws {BackupError} naming the record that JSON can't hold
 */
export async function serialize(stores) {
  const entries = [];
  let sliceEnd = performance.now() + SLICE;
  for (const category of CATEGORIES) {
    for (const record of stores[category]) {
      entries.push(entryOf(category, record));
      if (performance.now() > sliceEnd) {
        await new Promise((resolve) => setTimeout(resolve));
        sliceEnd = performance.now() + SLICE;
      }
    }
  }
  const counts = /** @type {Record<Category, number>} */ (
    Object.fromEntries(CATEGORIES.map((category) => [category, stores[category].length]))
  );
  const digest = sha256(entries.map((entry) => `${entry.name} ${entry.digest}`).join('\n'));
  return { entries, counts, digest };
}

/**
 * The body of `POST /api/backup`, in parts that are small enough to never be one huge string.
 *
 * @param {State} state
 * @param {string} clientTimestamp ISO 8601
 * @returns {string[]}
 */
export function bodyParts(state, clientTimestamp) {
  const parts = ['{'];
  for (const category of CATEGORIES) {
    parts.push(`"${category}":[`);
    const entries = state.entries.filter((entry) => entry.category === category);
    entries.forEach((entry, index) => parts.push(index ? ',' : '', entry.json));
    parts.push('],');
  }
  parts.push(`"clientTimestamp":${JSON.stringify(clientTimestamp)}}`);
  return parts;
}

/**
 * What two versions of a record are compared by, here or out of a backup. A record that JSON
 * can't hold has a digest that no backed up one has.
 *
 * @param {Category} category
 * @param {StoredRecord} record
 * @returns {string}
 */
export function digestOf(category, record) {
  try {
    assertJson(withoutAudio(category, record));
  } catch {
    return 'not JSON';
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
 * @param {StoredRecord} record
 * @returns {Entry}
 */
function entryOf(category, record) {
  const key = record[KEY_PATHS[category]];
  const name = recordName(category, key);
  try {
    const sent = withoutAudio(category, record);
    assertJson(sent);
    return {
      category,
      key,
      name,
      json: JSON.stringify(sent),
      digest: sha256(comparedText(category, record)),
      flaggedUnsynced: isFlaggedUnsynced(category, record),
    };
  } catch (error) {
    throw new BackupError(`${name} can't be backed up: ${messageOf(error)}`, { cause: error });
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
