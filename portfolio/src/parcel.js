/**
 * What is sent: a change of the base, or everything, as `POST /api/backup` takes it.
 */

import { CATEGORIES } from './categories.js';
import { currentSettings } from './settings.js';
import { sha256 } from './sha256.js';

/** @typedef {import('./categories.js').Category} Category */
/** @typedef {import('./serialize.js').Entry} Entry */
/** @typedef {Record<Category, number>} Counts */

/**
 * @typedef {object} Parcel
 * @property {string} key the parameter of `POST /api/backup`, see openapi.yaml
 * @property {string | null} base the id of the backup that this changes; null: this is everything
 * @property {Entry[]} entries what is in it
 * @property {Counts} counts of what the server is to store
 * @property {string[]} parts the body's text
 * @property {Blob} [compressed] the body gzipped, once there was time for that
 */

/**
 * @param {Entry[]} entries
 * @param {string | null} base
 * @param {Counts} counts
 * @param {string} key
 * @returns {Parcel}
 */
export function pack(entries, base, counts, key) {
  const { device } = currentSettings();
  const parts = ['{'];
  for (const category of CATEGORIES) {
    const those = entries.filter((entry) => entry.category === category);
    const put = those.flatMap(({ json }) => (json === null ? [] : [json]));
    const deleted = those.filter(({ json }) => json === null).map(({ key: gone }) => gone);
    if (base === null) parts.push(`"${category}":[`, ...joined(put), '],');
    else if (those.length > 0) {
      parts.push(`"${category}":{"put":[`, ...joined(put));
      parts.push(`],"delete":${JSON.stringify(deleted)}},`);
    }
  }
  if (base !== null) parts.push(`"counts":${JSON.stringify(counts)},`);
  if (device !== undefined) parts.push(`"device":${JSON.stringify(device)},`);
  parts.push(`"clientTimestamp":"${new Date().toISOString()}"}`);
  return { key, base, entries, counts, parts };
}

/**
 * The same contents after the same backup have one key, in each tab and after a crash. Contents
 * that come back after another backup have another one, or the newest backup would be that other.
 *
 * @param {Entry[]} entries
 * @param {string | null} base
 * @param {string} after the id of the last backup
 */
export function keyOf(entries, base, after) {
  const lines = entries.map(({ name, digest }) => `${name} ${digest}`).sort();
  return sha256([base === null ? 'everything' : 'change', after, ...lines].join('\n'));
}

/**
 * @param {Entry[]} entries
 * @returns {Counts}
 */
export function countsOf(entries) {
  const counts = Object.fromEntries(CATEGORIES.map((category) => [category, 0]));
  for (const { category } of entries) counts[category] += 1;
  return /** @type {Counts} */ (counts);
}

/** 128 random bits: `crypto.randomUUID` is missing on plain-http hosts. */
export function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * @param {Parcel} parcel
 * @returns {Blob} as it can be sent at once; its type is one that needs no preflight
 */
export function ready(parcel) {
  return parcel.compressed ?? new Blob(parcel.parts, { type: 'text/plain' });
}

/**
 * @param {Parcel} parcel
 * @returns {Promise<Blob>} plain JSON where the browser can't compress
 */
export async function compress(parcel) {
  const json = new Blob(parcel.parts, { type: 'application/json' });
  if (typeof CompressionStream === 'undefined') return json;
  const stream = json.stream().pipeThrough(new CompressionStream('gzip'));
  const bytes = await new Response(stream).arrayBuffer();
  parcel.compressed ??= new Blob([bytes], { type: 'application/gzip' });
  return parcel.compressed;
}

/** @param {string[]} texts */
function joined(texts) {
  return texts.flatMap((text, index) => (index ? [',', text] : [text]));
}
