/**
 * What backups say about each other. Those with one `deviceId` are a series, those without any are
 * another; a backup is compared with the one before it in its series (see docs/operations.md).
 */

import { type Backup, CATEGORIES } from '../src/index.js';
import { countOf, dayKey, signed, sizeOf } from './format.js';

export type Entry = Backup & { time: Date; day: string };
export type Predecessors = Map<Entry, Entry | undefined>;
type Device = { name: string; newest: Entry };

const DAY = 86_400_000;

/** Days that the present rate is measured over. */
const RATE_DAYS = 30;

export function entryOf(backup: Backup): Entry {
  const time = new Date(backup.timestamp);
  return { ...backup, time, day: dayKey(time) };
}

export function seriesOf({ deviceId }: Entry) {
  return deviceId ?? null;
}

/** Of entries, newest first. Until the list is complete, only those of one series are known. */
export function predecessors(entries: Entry[], complete: boolean): Predecessors {
  const bySeries = new Map<string | null, Entry>();
  const byName = new Map<string, Entry>();
  const found: Predecessors = new Map();
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

/** The series of entries, newest first; so is the one with the newest backup. */
export function devicesOf(entries: Entry[]) {
  const devices = new Map<string | null, Device>();
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

export function bytesOf(entries: Entry[]) {
  return entries.reduce((bytes, { size }) => bytes + size, 0);
}

export function recordsIn({ counts }: Backup) {
  return CATEGORIES.reduce((sum, category) => sum + (counts[category] ?? 0), 0);
}

/** `+1 atom`, `−2 snapshots`: the sum of steps from a backup to a later one. */
export function differences(steps: [Backup, Backup][]) {
  return CATEGORIES.flatMap((category) => {
    const grown = steps.map(([from, to]) => to.counts[category] - from.counts[category]);
    const sum = grown.reduce((total, more) => total + more, 0);
    return sum ? [signed(sum, countOf(Math.abs(sum), category))] : [];
  });
}

/** What changed; where nothing earlier is known, what is in it. */
export function changeOf(entry: Entry, before: Entry | undefined, complete: boolean) {
  if (entry.problem) return entry.problem;
  const present = CATEGORIES.filter((category) => entry.counts[category]);
  const counts = present.map((category) => countOf(entry.counts[category], category)).join(', ');
  if (!before) return complete ? `the first: ${counts}` : counts;
  const changes = differences([[before, entry]]);
  if (changes.length) return changes.join(', ');
  const grown = entry.size - before.size;
  return grown ? `edited, ${signed(grown, sizeOf(Math.abs(grown)))}` : 'as before';
}

/**
 * What a category lost that has half of its items or fewer, in words: the rule of the server's
 * `check` and `prune` commands.
 */
export function losses(entry: Entry, before: Entry | undefined) {
  if (!before || entry.problem) return [];
  return CATEGORIES.flatMap((category) => {
    const [had, has] = [before.counts[category], entry.counts[category]];
    if (had === 0 || has * 2 > had) return [];
    const all = had === 1 ? 'the only' : 'all';
    return [`${has ? `${had - has} of` : all} ${countOf(had, category)}`];
  });
}

/** Bytes of all entries, newest first, and the present rate as `check` has it. */
export function growth(entries: Entry[], now: Date) {
  const age = ({ time }: Entry) => (now.getTime() - time.getTime()) / DAY;
  const days = Math.min(RATE_DAYS, Math.max(1, age(entries[entries.length - 1])));
  const recent = entries.filter((entry) => age(entry) <= RATE_DAYS);
  return { bytes: bytesOf(entries), perDay: bytesOf(recent) / days };
}

/**
 * Which of the chosen, newest first, may go. The newest of each device stays, and the last backup
 * that still had what a later one lost; `stays` has the reasons.
 */
export function thinned(chosen: Entry[], before: Predecessors) {
  const stays = new Map<Entry, string>();
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
