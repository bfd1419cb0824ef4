/** The server's list. Each entry is read by itself: what is wrong with one hides no other. */

import { CATEGORIES, countsOf } from './categories.js';
import { BackupError } from './errors.js';
import { isTime, parsed, request } from './transport.js';

/** @import { Backup, BackupPage, Settings } from './types.js' */

/**
 * @param {Readonly<Settings>} settings
 * @param {{limit?: number | null, before?: string | null, deviceId?: string}} [range]
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
  /** @type {(Backup | string)[]} */
  const all = answer.backups.map(entryOf);
  return {
    backups: all.filter((entry) => typeof entry !== 'string'),
    next: typeof answer.next === 'string' ? answer.next : null,
    unreadable: all.filter((entry) => typeof entry === 'string'),
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
  return (newest ?? all.find(({ id }) => id === baseId))?.id ?? null;
}

/**
 * @param {any} entry @param {number} index
 * @returns {Backup | string} what is wrong with an entry that has no id
 */
function entryOf(entry, index) {
  const { id, timestamp, size, counts } = entry ?? {};
  if (typeof id !== 'string' || !id) return `Entry ${index + 1} of the server's list has no id`;
  const problems = [];
  if (!isTime(timestamp)) problems.push(`its timestamp is ${JSON.stringify(timestamp)}`);
  if (!Number.isFinite(size)) problems.push('its size is no number');
  if (typeof counts !== 'object') problems.push('it has no counts');
  const counted = countsOf([]);
  for (const category of CATEGORIES) {
    const count = counts?.[category] ?? 0;
    if (Number.isInteger(count)) counted[category] = count;
    else problems.push(`its count of ${category} is no number`);
  }
  const text = (/** @type {unknown} */ value) => (typeof value === 'string' && value) || null;
  return {
    ...entry,
    timestamp: isTime(timestamp) ? timestamp : timeInId(id),
    clientTimestamp: text(entry.clientTimestamp) ?? '',
    size: Number.isFinite(size) ? size : 0,
    counts: counted,
    deviceId: text(entry.deviceId),
    device: text(entry.device),
    problem: problems.join(', ') || null,
  };
}

/** @param {string} id begins with the server's UTC time, the colons of which are hyphens */
function timeInId(id) {
  const [, day, ...clock] = /^(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d)/.exec(id) ?? [];
  const time = `${day}T${clock.join(':')}Z`;
  return isTime(time) ? time : new Date(0).toISOString();
}
