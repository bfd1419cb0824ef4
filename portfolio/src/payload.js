/**
 * An upload on the wire: the body of `POST /api/backup`, plain or gzipped, and its address.
 */

import { CATEGORIES } from './categories.js';
import { checkedReceipt, parsed, request } from './transport.js';

/** @import { Settings, Upload } from './types.js' */

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

/**
 * @param {Upload} upload @param {Device} device
 * @returns {Promise<Blob>} plain JSON where the browser can't compress
 */
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
  const options = { method: 'POST', path: pathOf(upload), body, type: body.type, onProgress };
  const answer = await request(settings, options);
  return checkedReceipt(parsed(answer), upload.counts);
}

/** @param {Upload} upload @param {Device} device @returns {string[]} the body's text */
function partsOf({ base, entries, counts }, { deviceId, device }) {
  const parts = ['{'];
  for (const category of CATEGORIES) {
    const those = entries.filter((entry) => entry.category === category);
    const put = those.flatMap(({ json }) => (json === null ? [] : [json]));
    const deleted = those.filter(({ json }) => json === null).map(({ key }) => key);
    if (base === null) parts.push(`"${category}":[`, ...joined(put), '],');
    else if (those.length > 0) {
      parts.push(`"${category}":{"put":[`, ...joined(put));
      parts.push(`],"delete":${JSON.stringify(deleted)}},`);
    }
  }
  if (base !== null) parts.push(`"counts":${JSON.stringify(counts)},`);
  const clientTimestamp = new Date().toISOString();
  parts.push(JSON.stringify({ clientTimestamp, deviceId, device }).slice(1));
  return parts;
}

/** @param {string[]} texts */
function joined(texts) {
  return texts.flatMap((text, index) => (index ? [',', text] : [text]));
}
