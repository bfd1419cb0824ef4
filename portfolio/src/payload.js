/** An upload on the wire: the body of `POST /api/backup`, its address and its answer. */

import { CATEGORIES } from './categories.js';
import { BackupError } from './errors.js';
import { isTime, parsed, request } from './transport.js';

/** @import { Counts, Receipt, Settings, Upload } from './types.js' */

/** @typedef {{deviceId: string, device: string | undefined}} Device */

/** @type {WeakMap<Upload, Blob>} gzipped bodies of those that had time for that */
const compressed = new WeakMap();

/** @param {Upload} upload */
export function pathOf({ key, base }) {
  const change = base === null ? '' : `&base=${encodeURIComponent(base)}`;
  return `/api/backup?key=${encodeURIComponent(key)}${change}`;
}

/**
 * @param {Upload} upload @param {Device} device
 * @returns {Blob} as it can be sent at once: gzipped if there was time for that, else of a type
 * that a beacon sends to another origin without a preflight
 */
export function ready(upload, device) {
  return compressed.get(upload) ?? new Blob(partsOf(upload, device), { type: 'text/plain' });
}

/** @param {Upload} upload @param {Device} device gzipped, if the browser can do that */
export async function compress(upload, device) {
  const json = new Blob(partsOf(upload, device), { type: 'application/json' });
  if (typeof CompressionStream === 'undefined') return json;
  const stream = json.stream().pipeThrough(new CompressionStream('gzip'));
  const bytes = await new Response(stream).arrayBuffer();
  const body = new Blob([bytes], { type: 'application/gzip' });
  compressed.set(upload, body);
  return body;
}

/**
 * @param {Readonly<Settings>} settings
 * @param {Upload} upload its key is the same for each attempt, so that one is stored at most
 * @param {Device} device @param {(fraction: number) => void} onProgress 0 to 1
 */
export async function post(settings, upload, device, onProgress) {
  const body = compressed.get(upload) ?? (await compress(upload, device));
  const options = { method: 'POST', path: pathOf(upload), body, onProgress };
  const answer = await request(settings, options);
  return checkedReceipt(parsed(answer), upload.counts);
}

/** @param {Upload} upload @param {Device} device @returns {string[]} the body's text */
function partsOf({ base, entries, counts }, { deviceId, device }) {
  const parts = ['{'];
  for (const category of CATEGORIES) {
    const those = entries.filter((entry) => entry.category === category);
    const put = those.flatMap(({ json }) => (json === null ? [] : [',', json])).slice(1);
    const deleted = those.filter(({ json }) => json === null).map(({ key }) => key);
    if (base === null) parts.push(`"${category}":[`, ...put, '],');
    else if (those.length > 0) {
      parts.push(`"${category}":{"put":[`, ...put, `],"delete":${JSON.stringify(deleted)}},`);
    }
  }
  if (base !== null) parts.push(`"counts":${JSON.stringify(counts)},`);
  const clientTimestamp = new Date().toISOString();
  parts.push(JSON.stringify({ clientTimestamp, deviceId, device }).slice(1));
  return parts;
}

/**
 * A captive portal's 200 is no receipt, and neither is one for other contents.
 *
 * @param {any} receipt @param {Counts} counts @returns {Receipt} @throws {BackupError}
 */
function checkedReceipt(receipt, counts) {
  const isId = typeof receipt?.id === 'string' && receipt.id !== '';
  if (!isId || !isTime(receipt.timestamp) || !Number.isInteger(receipt.size) || !receipt.counts) {
    throw new BackupError('The server\'s answer is not a receipt for a backup');
  }
  for (const category of CATEGORIES) {
    const [stored, sent] = [receipt.counts[category], counts[category]];
    const words = `it names ${stored} ${category}, ${sent} were sent`;
    if (stored !== sent) throw new BackupError(`The receipt is not for this backup: ${words}`);
  }
  return receipt;
}
