/**
 * SHA-256 of records, uploads and files. It is synchronous: digests are compared inside IndexedDB
 * transactions, which end when anything else is awaited, and on plain-http hosts, where
 * `crypto.subtle` is missing.
 */

import { sha256 as digestBytes } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';

/** @import { Entry } from './types.js' */

/** @param {string} text hashed as UTF-8 @returns {string} 64 hexadecimal digits */
export function sha256(text) {
  return bytesToHex(digestBytes(utf8ToBytes(text)));
}

/** @returns {string} 128 random bits: `crypto.randomUUID` is missing on plain-http hosts */
export function randomHex() {
  return bytesToHex(crypto.getRandomValues(new Uint8Array(16)));
}

/**
 * The key that makes an upload safe to send again. The same contents of one device after the same
 * backup have one key, in each tab and after a crash, so the server stores them once. After another
 * backup they have another key, or the newest backup would be that other one.
 *
 * @param {string} deviceId @param {string | null} base
 * @param {string} after the id of the base, also of a lost base, and of the newest listed
 * @param {Entry[]} entries
 */
export function keyOf(deviceId, base, after, entries) {
  const kind = base === null ? 'everything' : 'change';
  return sha256([deviceId, kind, after, contentsOf(entries)].join('\n'));
}

/** @param {Entry[]} entries @returns {string} equal where names and contents are */
export function contentsOf(entries) {
  return sha256(entries.map(({ name, digest }) => `${name} ${digest}`).sort().join('\n'));
}

/**
 * @param {string} text of a file @param {any} document the JSON in it
 * @returns {boolean} whether it has the digest that the server wrote into its head, of the whole
 * file without the digest's own digits; also where it has none, as from the Express server
 */
export function matchesDigest(text, document) {
  const names = Object.keys(document);
  const hasDigest = names.slice(0, names.indexOf('data')).includes('sha256');
  if (!hasDigest) return true;
  const digits = String(document.sha256);
  // The head comes first: what has the same text in the data, comes later.
  const start = text.indexOf(`"${digits}"`) + 1;
  return sha256(text.slice(0, start) + text.slice(start + digits.length)) === digits;
}
