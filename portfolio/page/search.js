/**
 * Searching records by everything that is written in them: `strasse` finds `Straße`.
 */

import { turns } from '../src/turns.js';

/**
 * @template {{inBackup: Record<string, any>}} Row
 * @param {Row[]} rows
 * @param {string} words found whatever their case and accents
 * @param {() => boolean} isWanted asked between turns: whether the answer still matters
 * @returns {Promise<Row[] | null>} null when it no longer does
 */
export async function search(rows, words, isWanted) {
  const wanted = folded(words);
  if (!wanted) return rows;
  const turn = turns();
  const found = [];
  for (const row of rows) {
    if (holds(row.inBackup, wanted)) found.push(row);
    await turn();
    if (!isWanted()) return null;
  }
  return found;
}

/** @param {string} text */
function folded(text) {
  const lower = text.toLowerCase();
  // Most text needs no more, and there may be 50 MB of it.
  if (/^[\0-\x7f]*$/.test(lower)) return lower;
  return lower.normalize('NFKD').replace(/\p{M}/gu, '').replaceAll('ß', 'ss');
}

/**
 * @param {unknown} record
 * @param {string} wanted folded
 */
function holds(record, wanted) {
  const left = [record];
  while (left.length) {
    const value = left.pop();
    if (typeof value === 'object' && value !== null) {
      for (const member of Object.values(value)) left.push(member);
    } else if (folded(String(value)).includes(wanted)) {
      return true;
    }
  }
  return false;
}
