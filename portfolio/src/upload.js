/**
 * What is to be stored, and the key that makes it safe to send it again. Pure, like `pending.js`.
 */

import { sha256 } from './sha256.js';

/** @import { Counts } from './categories.js' */
/** @import { Entry } from './serialize.js' */
/** @import { Receipt } from './transport.js' */
/** @typedef {{digest: string, since: string}} Known `since`: when it was first backed up, ISO */

/**
 * @typedef {object} State What the client's own database keeps.
 * @property {string} deviceId
 * @property {{receipt: Receipt, at: number} | null} base `at`: by this clock, in milliseconds
 * @property {string | null} lost null: the base is the newest; else the id of the newest backup
 *   that the server listed instead, '' for none
 * @property {Map<string, Known>} known by record name: what is in the base; while that is lost,
 *   what was in it, for the sake of `since`
 */

/**
 * @typedef {object} Upload
 * @property {string} key the parameter of `POST /api/backup`, see openapi.yaml
 * @property {string | null} base the id of the backup that this changes; null: this is everything
 * @property {Entry[]} entries what is in it
 * @property {Counts} counts of what the server is to store
 */

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
