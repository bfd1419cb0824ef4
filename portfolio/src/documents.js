/**
 * A backup's document: fetched from the server or read from a file, whole or in part, and
 * checked record by record before anybody gets it.
 */

import { CATEGORIES, isCategory, KEY_PATHS, recordName } from './categories.js';
import { client } from './client.js';
import { BackupError, messageOf } from './errors.js';
import { matchesDigest } from './digests.js';
import { isTime, parsed, request } from './transport.js';

/** @import { BackupDocument, Category, Items, Part, Source, StoredRecord } from './types.js' */

/**
 * @param {Source} source @returns {Promise<BackupDocument>}
 * @throws {BackupError} for what is no backup, or is damaged
 */
export async function readBackup(source) {
  if (typeof source === 'string') {
    const document = checked(parsed(await fetchText(source)), 'The server\'s answer');
    if (document.id === source) return document;
    throw new BackupError('The server\'s answer is not the backup that was asked for');
  }
  return source instanceof Blob ? fromFile(source) : checked(source, 'What was given');
}

/** @param {string} id @returns {Promise<File>} `backup-<id>.json`, as the server has it */
export async function downloadBackup(id) {
  const { text } = await fetchText(id);
  return new File([text], `backup-${id}.json`, { type: 'application/json' });
}

/**
 * @param {Source} source @param {Items | null} [items]
 * @returns {Promise<Part>} every record checked, in the order of the categories
 * @throws {BackupError} also when a key is not in the backup
 */
export async function readPart(source, items) {
  const wanted = wantedOf(items);
  const { id, timestamp, data } = await readBackup(source);
  /** @type {Part} */
  const part = { id, timestamp, data: {} };
  for (const category of CATEGORIES) {
    const keys = wanted[category];
    if (keys) part.data[category] = pick(category, data[category], keys);
  }
  return part;
}

/** @param {string} id */
function fetchText(id) {
  return request(client().settings, { path: `/api/backup/${encodeURIComponent(id)}` });
}

/** @param {Blob} file */
async function fromFile(file) {
  const name = file instanceof File ? file.name : 'The file';
  let text, document;
  try {
    // What can't be a document is not read into memory: it may be a film.
    if (!(await file.slice(0, 256).text()).trimStart().startsWith('{')) throw new SyntaxError();
    const bytes = await file.arrayBuffer();
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    document = JSON.parse(text);
  } catch (cause) {
    const isUnread = cause instanceof DOMException;
    const reason = isUnread ? `can't be read: ${messageOf(cause)}` : 'is no backup: it is not JSON';
    throw new BackupError(`${name} ${reason}`, { cause });
  }
  const backup = checked(document, name);
  if (matchesDigest(text, document)) return backup;
  throw new BackupError(
    `${name} is not as the server wrote it: its SHA-256 does not match. ` +
      'If it was changed on purpose, delete the member sha256 in it',
  );
}

/**
 * @param {any} document @param {string} name
 * @returns {BackupDocument} with all five categories: an absent one is empty
 */
function checked(document, name) {
  const { id, timestamp, version, data } = document ?? {};
  if (typeof id !== 'string' || id === '' || !isTime(timestamp) || !isObject(data)) {
    throw new BackupError(`${name} is no backup: it lacks an id, a timestamp or its data`);
  }
  if ((version ?? 1) !== 1) {
    throw new BackupError(`${name} is a backup of version ${version}, which can't be read here`);
  }
  const categories = CATEGORIES.map((category) => [category, data[category] ?? []]);
  for (const [category, records] of categories) checkRecords(category, records);
  return { ...document, data: { ...data, ...Object.fromEntries(categories) } };
}

/** @param {unknown} value */
function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @param {Category} category @param {unknown} records */
function checkRecords(category, records) {
  if (!Array.isArray(records)) throw new BackupError(`The backup has no list of ${category}`);
  const names = new Set();
  records.forEach((record, index) => {
    const where = `${category}[${index}] in the backup`;
    if (!isObject(record)) throw new BackupError(`${where} is no record`);
    const key = record[KEY_PATHS[category]];
    if (!isKey(key)) throw new BackupError(`${where} has no valid ${KEY_PATHS[category]}`);
    const name = recordName(category, key);
    if (names.has(name)) throw new BackupError(`${name} is twice in the backup`);
    names.add(name);
  });
}

/** @param {unknown} value */
function isKey(value) {
  try {
    return indexedDB.cmp(value, value) === 0;
  } catch {
    return false;
  }
}

/**
 * @param {Items | null | undefined} items
 * @returns {Partial<Record<Category, true | IDBValidKey[]>>} those that are chosen
 */
function wantedOf(items) {
  const asked = items ?? CATEGORIES;
  const choices = Array.isArray(asked) ? asked.map((name) => [name, true]) : Object.entries(asked);
  for (const [name, choice] of choices) {
    if (!isCategory(name)) throw new BackupError(`There is no category ${name} to restore`);
    if (!(['boolean', 'undefined'].includes(typeof choice) || Array.isArray(choice))) {
      throw new BackupError(`items: ${name} must be true, false or a list of keys`);
    }
  }
  const chosen = choices.filter(([, choice]) => (Array.isArray(choice) ? choice.length : choice));
  if (chosen.length === 0) throw new BackupError('Nothing is chosen to restore');
  return Object.fromEntries(chosen);
}

/** @param {Category} category @param {StoredRecord[]} records @param {true | IDBValidKey[]} keys */
function pick(category, records, keys) {
  const nameOf = (/** @type {IDBValidKey} */ key) => recordName(category, key);
  const missing = new Set(keys === true ? [] : keys.map(nameOf));
  const picked = records.filter(
    (record) => keys === true || missing.delete(nameOf(record[KEY_PATHS[category]])),
  );
  for (const name of missing) throw new BackupError(`${name} is not in the backup`);
  if (category !== 'voiceNotes') return picked;
  // Whatever stands for audio in JSON, it is none.
  return picked.map(({ audioBlob, ...metadata }) => metadata);
}
