/**
 * SHA-256, synchronous: digests are compared inside IndexedDB transactions, which end when
 * anything else is awaited, and on plain-http hosts, where `crypto.subtle` is missing.
 */

import { sha256 as digestBytes } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';

/** @param {string} text hashed as UTF-8 @returns {string} 64 hexadecimal digits */
export function sha256(text) {
  return bytesToHex(digestBytes(utf8ToBytes(text)));
}

/** @returns {string} 128 random bits: `crypto.randomUUID` is missing on plain-http hosts */
export function randomHex() {
  return bytesToHex(crypto.getRandomValues(new Uint8Array(16)));
}
