/**
 * The backups on the server: listing and deleting them. Each entry of a listing is read by itself,
 * so that one that is wrong hides no other.
 */

import { CATEGORIES, countsOf } from './categories.js';
import { BackupError } from './errors.js';
import { parsed, request } from './transport.js';

/** @import { Backup, BackupPage, Settings } from './types.js' */

/**
 * @param {Readonly<Settings>} settings
 * @param {{limit?: number, before?: string | null, deviceId?: string}} [range]
 * @param {{once?: boolean}} [options] @returns {Promise<BackupPage>}
 * @throws {BackupError} also when the answer is no listing: an empty list means no backups
 */
export async function listPage(settings, { limit, before, deviceId } = {}, { once = false } = {}) {
  const given = Object.entries({ deviceId, limit, before }).filter(([, value]) => value != null);
  const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  const path = `/api/backup/list${given.length ? `?${query}` : ''}`;
  const answer = parsed(await request(settings, { path, once }));
  if (!Array.isArray(answer?.backups)) {
    throw new BackupError('The server\'s answer is not a list of backups');
  }
  const all = answer.backups.map(entryOf);
  return {
    backups: all.filter((/** @type {Backup | string} */ entry) => typeof entry !== 'string'),
    next: typeof answer.next === 'string' ? answer.next : null,
    unreadable: all.filter((/** @type {Backup | string} */ entry) => typeof entry === 'string'),
  };
}

/**
 * The newest backup of this device, which the base is if nothing was lost. A server that doesn't
 * know devices lists backups without them: there the base counts as the newest if it is listed.
 *
 * @param {Readonly<Settings>} settings @param {string} deviceId @param {string | null} baseId
 * @returns {Promise<string | null>} its id; null if there is none
 * @throws {BackupError} when the answer is no list
 */
export async function newestOf(settings, deviceId, baseId) {
  const { backups } = await listPage(settings, { deviceId, limit: 1 }, { once: true });
  if (backups.length === 0 || backups[0].deviceId === deviceId) return backups[0]?.id ?? null;
  const all = (await listPage(settings, {}, { once: true })).backups;
  const newest = all.find((backup) => backup.deviceId === deviceId);
  if (newest) return newest.id;
  return all.some(({ id }) => id === baseId) ? baseId : null;
}

/** @param {Readonly<Settings>} settings @param {string} id */
export async function deleteOne(settings, id) {
  await request(settings, { method: 'DELETE', path: `/api/backup/${encodeURIComponent(id)}` });
}

/**
 * @param {any} entry @param {number} index
 * @returns {Backup | string} what is wrong with an entry that has no id
 */
function entryOf(entry, index) {
  if (typeof entry?.id !== 'string' || entry.id === '') {
    return `Entry ${index + 1} of the server's list has no id`;
  }
  const problems = [];
  if (!isTime(entry.timestamp)) problems.push(`its timestamp is ${JSON.stringify(entry.timestamp)}`);
  if (!Number.isFinite(entry.size)) problems.push('its size is no number');
  const counts = countsOf([]);
  for (const category of CATEGORIES) {
    const count = entry.counts?.[category] ?? 0;
    if (Number.isInteger(count)) counts[category] = count;
    else problems.push(`its count of ${category} is no number`);
  }
  if (typeof entry.counts !== 'object') problems.push('it has no counts');
  const text = (/** @type {unknown} */ value) => (typeof value === 'string' && value ? value : null);
  return {
    ...entry,
    timestamp: isTime(entry.timestamp) ? entry.timestamp : timeInId(entry.id),
    clientTimestamp: text(entry.clientTimestamp) ?? '',
    size: Number.isFinite(entry.size) ? entry.size : 0,
    counts,
    deviceId: text(entry.deviceId),
    device: text(entry.device),
    problem: problems.length ? problems.join(', ') : null,
  };
}

/** @param {unknown} value */
function isTime(value) {
  return typeof value === 'string' && !Number.isNaN(Date.parse(value));
}

/** @param {string} id begins with the server's UTC time, the colons of which are hyphens */
function timeInId(id) {
  const [, day, ...clock] = /^(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d)/.exec(id) ?? [];
  const time = `${day}T${clock.join(':')}Z`;
  return isTime(time) ? time : new Date(0).toISOString();
}
