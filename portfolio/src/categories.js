/**
 * The five categories of a backup: the object stores of the host application's database that
 * are backed up, and the key path of each. `screenshots` stays on the device.
 */

/** @import { Category, Counts, Reference } from './types.js' */

/** @type {readonly Category[]} In the order in which they are sent. */
export const CATEGORIES = ['atoms', 'compositions', 'snapshots', 'voiceNotes', 'configOverrides'];

/** @type {Readonly<Record<Category, string>>} */
export const KEY_PATHS = {
  atoms: 'slug',
  compositions: 'id',
  snapshots: 'id',
  voiceNotes: 'id',
  configOverrides: 'atomSlug',
};

/** @type {readonly Category[]} The stores whose records carry `synced`; atoms don't. */
export const FLAGGED = ['compositions', 'snapshots', 'voiceNotes', 'configOverrides'];

/** @param {unknown} name @returns {name is Category} */
export function isCategory(name) {
  return CATEGORIES.includes(/** @type {Category} */ (name));
}

/**
 * The one name of a record across stores; `1` and `"1"` are two keys of IndexedDB.
 *
 * @param {Category} category @param {IDBValidKey} key
 */
export function recordName(category, key) {
  return `${category}/${JSON.stringify(key)}`;
}

/** @param {string} name @returns {Reference} */
export function referenceOf(name) {
  const end = name.indexOf('/');
  const category = /** @type {Category} */ (name.slice(0, end));
  return { category, key: JSON.parse(name.slice(end + 1)) };
}

/** @param {Iterable<{category: Category}>} records @returns {Counts} */
export function countsOf(records) {
  const counts = Object.fromEntries(CATEGORIES.map((category) => [category, 0]));
  for (const { category } of records) counts[category] += 1;
  return /** @type {Counts} */ (counts);
}

/** @param {Counts} counts */
export function total(counts) {
  return CATEGORIES.reduce((sum, category) => sum + counts[category], 0);
}
