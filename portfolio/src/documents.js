/**
 * A backup's document: fetched from the server or read from a file, whole or in part, and
 * checked record by record before anybody gets it.
 */

import { CATEGORIES, isCategory, KEY_PATHS, recordName } from './categories.js';
import { BackupError, messageOf } from './errors.js';
import { sha256 } from './sha256.js';
import { parsed, request } from './transport.js';

/** @typedef {import('./categories.js').Category} Category */
/** @typedef {import('./categories.js').StoredRecord} StoredRecord */

/**
 * @typedef {Partial<Record<Category, boolean | IDBValidKey[]>> | Category[]} Items
 *   by category all of it, or the records with these keys; absent: all categories
 */

/**
 * @typedef {object} BackupDocument What the server stores, and what a downloaded file holds.
 * @property {string} id
 * @property {string} timestamp ISO 8601, by the server's clock
 * @property {string} [clientTimestamp]
 * @property {number} [version] 1
 * @property {Record<Category, StoredRecord[]> & {device?: unknown}} data all five categories, and
 *   what else the client sent, such as the name given by `configure({device})`
 */

/** @typedef {string | Blob | BackupDocument} Source an id, a file, or what `readBackup` returned */

/**
 * @typedef {object} Part What is to be restored.
 * @property {string} id
 * @property {string} timestamp
 * @property {Partial<Record<Category, StoredRecord[]>>} data
 * @property {boolean} onServer whether the server has just sent it
 */

const SHA256 = /"sha256":"([0-9a-f]{64})"/;

/** A head is at most so long (see the server's document.py). */
const HEAD = 4096;

/**
 * Reads a backup, from the server or a file, to look into it.
 *
 * @param {Source} source
 * @returns {Promise<BackupDocument>}
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

/**
 * Fetches the server's document as it is, to be saved.
 *
 * @param {string} id
 * @returns {Promise<File>} `backup-<id>.json`
 * @throws {BackupError}
 */
export async function downloadBackup(id) {
  const { text } = await fetchText(id);
  return new File([text], `backup-${id}.json`, { type: 'application/json' });
}

/**
 * @param {Source} source
 * @param {Items} [items]
 * @returns {Promise<Part>} every record checked
 * @throws {BackupError} also when a key is not in the backup
 */
export async function readPart(source, items) {
  const wanted = wantedOf(items);
  const onServer = typeof source === 'string';
  const { id, timestamp, data } = onServer
    ? await fetchCategories(source, [...wanted.keys()])
    : await readBackup(source);
  const picked = [...wanted].map(([category, keys]) => {
    const records = pick(category, data[category], keys);
    return [category, category === 'voiceNotes' ? records.map(withoutAudio) : records];
  });
  return { id, timestamp, data: Object.fromEntries(picked), onServer };
}

/** @param {string} id */
function fetchText(id) {
  return request({ method: 'GET', path: `/api/backup/${encodeURIComponent(id)}` });
}

/**
 * @param {string} id
 * @param {Category[]} categories
 */
async function fetchCategories(id, categories) {
  const body = JSON.stringify({ backupId: id, items: categories });
  const answer = parsed(
    await request({ method: 'POST', path: '/api/restore', body, type: 'application/json' }),
  );
  const { timestamp, data } = answer ?? {};
  if (answer?.id !== id || !isTime(timestamp) || typeof data !== 'object') {
    throw new BackupError('The server\'s answer is not the backup that was asked for');
  }
  for (const category of categories) checkRecords(category, data?.[category]);
  return { id, timestamp, data };
}

/** @param {Blob} file */
async function fromFile(file) {
  const name = file instanceof File ? file.name : 'The file';
  const text = await textOf(file, name);
  const document = checked(parseFile(text, name), name);
  if (!(await matchesDigest(text))) {
    throw new BackupError(
      `${name} is not as the server wrote it: its SHA-256 does not match. ` +
        'If it was changed on purpose, delete the member sha256 in it',
    );
  }
  return document;
}

/**
 * @param {Blob} file
 * @param {string} name
 */
async function textOf(file, name) {
  try {
    // What can't be a document is not read into memory: it may be a film.
    if (!(await file.slice(0, 256).text()).trimStart().startsWith('{')) throw new SyntaxError();
    const bytes = await file.arrayBuffer();
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (error instanceof DOMException) {
      throw new BackupError(`${name} can't be read: ${messageOf(error)}`, { cause: error });
    }
    throw new BackupError(`${name} is no backup: it is not JSON`, { cause: error });
  }
}

/**
 * @param {string} text
 * @param {string} name
 */
function parseFile(text, name) {
  try {
    return JSON.parse(text);
  } catch (error) {
    const reason = `${name} is no whole backup: it is not JSON (${messageOf(error)})`;
    throw new BackupError(reason, { cause: error });
  }
}

/**
 * The digest is that of the file without the digest's own digits. The Express server wrote none.
 *
 * @param {string} text
 */
async function matchesDigest(text) {
  const found = SHA256.exec(text.slice(0, HEAD));
  if (!found) return true;
  const start = found.index + '"sha256":"'.length;
  const rest = text.slice(0, start) + text.slice(start + found[1].length);
  return (await sha256Of(rest)) === found[1];
}

/**
 * The browser's own is fast and blocks nothing, but is missing on plain-http hosts.
 *
 * @param {string} text
 */
async function sha256Of(text) {
  if (!globalThis.crypto?.subtle) return sha256(text);
  const hash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * @param {any} document
 * @param {string} name
 * @returns {BackupDocument} with all five categories: an absent one is empty
 */
function checked(document, name) {
  const { id, timestamp, version, data } = document ?? {};
  const isBackup = typeof id === 'string' && id !== '' && isTime(timestamp) && isObject(data);
  if (!isBackup) {
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
function isTime(value) {
  return typeof value === 'string' && !Number.isNaN(Date.parse(value));
}

/** @param {unknown} value */
function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * @param {Category} category
 * @param {unknown} records
 */
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
    indexedDB.cmp(value, value);
    return true;
  } catch {
    return false;
  }
}

/**
 * @param {Items | null | undefined} items
 * @returns {Map<Category, true | IDBValidKey[]>} in the order of the categories
 */
function wantedOf(items) {
  const asked = items ?? CATEGORIES;
  const choices = Array.isArray(asked) ? asked.map((name) => [name, true]) : Object.entries(asked);
  const wanted = new Map(/** @type {[any, any][]} */ (choices));
  for (const [name, choice] of wanted) {
    if (!isCategory(name)) throw new BackupError(`There is no category ${name} to restore`);
    if (!(choice === undefined || typeof choice === 'boolean' || Array.isArray(choice))) {
      throw new BackupError(`items: ${name} must be true, false or a list of keys`);
    }
    if (Array.isArray(choice) ? choice.length === 0 : !choice) wanted.delete(name);
  }
  if (wanted.size === 0) throw new BackupError('Nothing is chosen to restore');
  return new Map(
    CATEGORIES.filter((name) => wanted.has(name)).map((name) => [name, wanted.get(name)]),
  );
}

/**
 * @param {Category} category
 * @param {StoredRecord[]} records
 * @param {true | IDBValidKey[]} keys
 */
function pick(category, records, keys) {
  if (keys === true) return records;
  const missing = new Set(keys.map((key) => recordName(category, key)));
  const picked = records.filter((record) => {
    return missing.delete(recordName(category, record[KEY_PATHS[category]]));
  });
  for (const name of missing) throw new BackupError(`${name} is not in the backup`);
  return picked;
}

/**
 * Whatever stands for audio in JSON, it is none.
 *
 * @param {StoredRecord} record
 */
function withoutAudio({ audioBlob, ...metadata }) {
  return metadata;
}
