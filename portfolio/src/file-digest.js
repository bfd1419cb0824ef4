/**
 * The SHA-256 that the server writes into a backup's head: of the whole file, without the digest's
 * own digits. The Express server wrote none.
 */

import { sha256 } from './sha256.js';

/** One token of JSON, and the space before it. */
const TOKEN = /\s*("[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+)/y;

/**
 * @param {string} text of a file that is JSON
 * @returns {boolean} whether it is as the server wrote it; also where it has no digest
 */
export function matchesDigest(text) {
  const found = findDigest(text);
  if (!found) return true;
  const { start, digits } = found;
  return sha256(text.slice(0, start) + text.slice(start + digits.length)) === digits;
}

/**
 * The member `sha256` of the outermost object, before `data`, however the file is spaced: a record
 * may have a member of that name, too.
 *
 * @param {string} text @returns {{start: number, digits: string} | null}
 */
function findDigest(text) {
  const token = new RegExp(TOKEN);
  const next = () => token.exec(text)?.[1] ?? '';
  let [depth, before] = [0, ''];
  for (let found = next(); found; found = next()) {
    if (found === '{' || found === '[') depth += 1;
    if (found === '}' || found === ']') depth -= 1;
    if (depth === 1 && found === ':' && before === '"data"') return null;
    if (depth === 1 && found === ':' && before === '"sha256"') {
      const digits = next().slice(1, -1);
      return { start: token.lastIndex - digits.length - 1, digits };
    }
    before = found;
  }
  return null;
}
