/**
 * Searching records by everything that is written in them.
 */

import { turns } from '../src/turns.js';

/**
 * @template {{inBackup: Record<string, any>}} Row
 * @param {Row[]} rows
 * @param {string} words found in any case
 * @param {() => boolean} isWanted asked between turns: whether the answer still matters
 * @returns {Promise<Row[] | null>} null when it no longer does
 */
export async function search(rows, words, isWanted) {
  if (!words) return rows;
  const pattern = new RegExp(words.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'), 'iu');
  const turn = turns();
  const found = [];
  for (const row of rows) {
    if (holds(row.inBackup, pattern)) found.push(row);
    await turn();
    if (!isWanted()) return null;
  }
  return found;
}

/**
 * @param {unknown} record
 * @param {RegExp} pattern
 */
function holds(record, pattern) {
  const left = [record];
  while (left.length) {
    const value = left.pop();
    if (typeof value === 'object' && value !== null) {
      for (const member of Object.values(value)) left.push(member);
    } else if (pattern.test(String(value))) {
      return true;
    }
  }
  return false;
}
