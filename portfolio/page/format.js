/**
 * Times, sizes and counts in words.
 */

/** @typedef {import('../src/index.js').Category} Category */

/** @type {Record<Category, [string, string]>} */
const NAMES = {
  atoms: ['atom', 'atoms'],
  compositions: ['composition', 'compositions'],
  snapshots: ['snapshot', 'snapshots'],
  voiceNotes: ['voice note', 'voice notes'],
  configOverrides: ['override', 'overrides'],
};

/** @param {Category} category */
export function categoryName(category) {
  const name = NAMES[category][1];
  return name[0].toUpperCase() + name.slice(1);
}

/**
 * @param {number} count
 * @param {Category} category
 * @returns {string} that no line break parts
 */
export function countOf(count, category) {
  return `${count.toLocaleString()}\u00a0${NAMES[category][count === 1 ? 0 : 1]}`;
}

/**
 * @param {number} count
 * @param {string} noun
 */
export function plural(count, noun) {
  return `${count.toLocaleString()} ${noun}${count === 1 ? '' : 's'}`;
}

/** @param {number} bytes */
export function sizeOf(bytes) {
  if (bytes < 1000) return plural(bytes, 'byte');
  const [unit, value] = bytes < 1e6 ? ['kB', bytes / 1e3] : ['MB', bytes / 1e6];
  return `${value.toLocaleString(undefined, { maximumSignificantDigits: 3 })} ${unit}`;
}

/** @param {Date} time */
export function clockOf(time) {
  return time.toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit' });
}

/** @param {string} timestamp */
export function momentOf(timestamp) {
  const time = new Date(timestamp);
  return `${dayOf(time, new Date())}, ${clockOf(time)}`;
}

/**
 * @param {Date} day
 * @param {Date} now
 */
export function dayOf(day, now) {
  const age = daysBetween(day, now);
  if (age === 0) return 'Today';
  if (age === 1) return 'Yesterday';
  const year = day.getFullYear() === now.getFullYear() ? undefined : 'numeric';
  return day.toLocaleDateString(undefined, { day: 'numeric', month: 'long', year });
}

/**
 * @param {Date} earlier
 * @param {Date} later
 * @returns {number} midnights between them, by the local calendar
 */
export function daysBetween(earlier, later) {
  const midnight = (/** @type {Date} */ time) =>
    Date.UTC(time.getFullYear(), time.getMonth(), time.getDate());
  return (midnight(later) - midnight(earlier)) / 86_400_000;
}
