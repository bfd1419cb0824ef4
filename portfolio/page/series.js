/**
 * What backups say about each other. Those with one `deviceId` are a series, those without any are
 * another; a backup is compared with the one before it in its series (see docs/operations.md).
 */

import { CATEGORIES } from '../src/index.js';
import { countOf, dayKey, signed, sizeOf } from './format.js';

/** @typedef {import('../src/index.js').Backup & {deviceId?: string | null,
 *   device?: string | null, problem?: string | null}} Backup */
/** @typedef {Backup & {time: Date, day: string}} Entry */
/** @typedef {Map<Entry, Entry | undefined>} Predecessors */
/** @typedef {{name: string, newest: Entry}} Device */

const DAY = 86_400_000;

/** Days that the present rate is measured over. */
const RATE_DAYS = 30;

/** @param {Backup} backup @returns {Entry} */
export function entryOf(backup) {
  const time = new Date(backup.timestamp);
  return { ...backup, time, day: dayKey(time) };
}

/** @param {Entry} entry */
export function seriesOf({ deviceId }) {
  return deviceId ?? null;
}

/**
 * @param {Entry[]} entries newest first
 * @param {boolean} complete whether the list has been read to its end; before that a predecessor
 *   is only known where it is of the same series
 * @returns {Predecessors}
 */
export function predecessors(entries, complete) {
  /** @type {Map<string | null, Entry>} */
  const bySeries = new Map();
  /** @type {Map<string, Entry>} */
  const byName = new Map();
  /** @type {Predecessors} */
  const found = new Map();
  for (const entry of [...entries].reverse()) {
    if (entry.problem) continue;
    const { device } = entry;
    const other = (device ? byName.get(device) : undefined) ?? bySeries.get(null);
    found.set(entry, bySeries.get(seriesOf(entry)) ?? (complete ? other : undefined));
    bySeries.set(seriesOf(entry), entry);
    if (device) byName.set(device, entry);
  }
  return found;
}

/**
 * @param {Entry[]} entries newest first
 * @returns {Map<string | null, Device>} the series: the one with the newest backup first
 */
export function devicesOf(entries) {
  /** @type {Map<string | null, Device>} */
  const devices = new Map();
  for (const entry of entries) {
    if (entry.problem) continue;
    const series = seriesOf(entry);
    const known = devices.get(series);
    if (!known) devices.set(series, { name: entry.device ?? '', newest: entry });
    else known.name ||= entry.device ?? '';
  }
  const names = [...devices.values()].map(({ name }) => name);
  for (const [series, device] of devices) {
    const short = series?.slice(0, 8) ?? 'no device';
    const shared = names.filter((name) => name === device.name).length > 1;
    if (!device.name) device.name = short;
    else if (shared) device.name += ` (${short})`;
  }
  return devices;
}

/** @param {Backup} backup */
export function recordsIn({ counts }) {
  return CATEGORIES.reduce((sum, category) => sum + (counts[category] ?? 0), 0);
}

/** @param {Backup} backup @returns {string[]} `40 atoms`, `3 snapshots` */
export function countsOf({ counts }) {
  const present = CATEGORIES.filter((category) => counts[category]);
  return present.map((category) => countOf(counts[category], category));
}

/**
 * @param {[Backup, Backup][]} steps from a backup to a later one of its series
 * @returns {string[]} `+1 atom`, `−2 snapshots`
 */
export function differences(steps) {
  const sums = CATEGORIES.map((category) => ({
    category,
    sum: steps.reduce((sum, [from, to]) => sum + to.counts[category] - from.counts[category], 0),
  }));
  return sums
    .filter(({ sum }) => sum)
    .map(({ category, sum }) => signed(sum, countOf(Math.abs(sum), category)));
}

/**
 * @param {Entry} entry
 * @param {Entry | undefined} before
 * @param {boolean} complete
 * @returns {string} what changed; what is in it, where nothing earlier is known
 */
export function changeOf(entry, before, complete) {
  if (entry.problem) return entry.problem;
  const counts = countsOf(entry).join(', ') || 'nothing in it';
  if (!before) return complete ? `the first: ${counts}` : counts;
  const changes = differences([[before, entry]]);
  if (changes.length) return changes.join(', ');
  const grown = entry.size - before.size;
  return grown ? `edited, ${signed(grown, sizeOf(Math.abs(grown)))}` : 'as before';
}

/**
 * The rule of the server's `check` and `prune` commands.
 *
 * @param {Entry} entry
 * @param {Entry | undefined} before
 * @returns {string[]} what a category lost that has half of its items or fewer, in words
 */
export function losses(entry, before) {
  if (!before || entry.problem) return [];
  return CATEGORIES.filter((category) => {
    return before.counts[category] > 0 && entry.counts[category] * 2 <= before.counts[category];
  }).map((category) => {
    const [had, has] = [before.counts[category], entry.counts[category]];
    const all = had === 1 ? 'the only' : 'all';
    return has ? `${had - has} of ${countOf(had, category)}` : `${all} ${countOf(had, category)}`;
  });
}

/**
 * @param {Entry[]} entries newest first, all of them
 * @param {Date} now
 * @returns {{bytes: number, perDay: number}} of all, and the present rate as `check` has it
 */
export function growth(entries, now) {
  const sum = (/** @type {Entry[]} */ those) => those.reduce((bytes, { size }) => bytes + size, 0);
  const age = (/** @type {Entry} */ { time }) => (now.getTime() - time.getTime()) / DAY;
  const days = Math.min(RATE_DAYS, Math.max(1, age(entries[entries.length - 1])));
  const recent = entries.filter((entry) => age(entry) <= RATE_DAYS);
  return { bytes: sum(entries), perDay: sum(recent) / days };
}

/**
 * Which of the chosen may go. The newest of each device stays, and the last backup that still had
 * what a later one lost.
 *
 * @param {Entry[]} chosen newest first
 * @param {Predecessors} before of the whole list
 * @returns {{goes: Entry[], stays: Map<Entry, string>}} `stays`: with the reason
 */
export function thinned(chosen, before) {
  /** @type {Map<Entry, string>} */
  const stays = new Map();
  const seen = new Set();
  for (const entry of chosen) {
    if (entry.problem) stays.set(entry, entry.problem);
    else if (!seen.has(seriesOf(entry))) stays.set(entry, 'the newest');
    if (!entry.problem) seen.add(seriesOf(entry));
  }
  const among = new Set(chosen);
  for (const [entry, earlier] of before) {
    if (!earlier || !among.has(earlier) || stays.has(earlier)) continue;
    if (losses(entry, earlier).length) stays.set(earlier, 'has what a later one lost');
  }
  return { goes: chosen.filter((entry) => !stays.has(entry)), stays };
}
