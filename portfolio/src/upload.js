/**
 * What is to be stored, and the key that makes it safe to send it again. Pure, like `pending.js`.
 */

import { sha256 } from './sha256.js';

/** @import { Entry } from './types.js' */

/**
 * The same contents of one device after the same backup have one key, in each tab and after a
 * crash, so the server stores them once. Contents that come back after another backup have another
 * key, or the newest backup would be that other one.
 *
 * @param {string} deviceId @param {string | null} base
 * @param {string} after the id of the base, also of one that is lost, and of the newest listed
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
