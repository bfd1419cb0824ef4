/** Searching records by everything that is written in them: `strasse` finds `Straße`. */

import type { PlannedRecord as Row } from '../src/index.js';
import { turns } from '../src/turns.js';

/** Finds words whatever their case and accents; null once they are no longer wanted. */
export async function search(rows: Row[], words: string, isWanted: () => boolean) {
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

/** Without case and accents. */
export function folded(text: string) {
  const lower = text.toLowerCase();
  // Most text needs no more, and there may be 50 MB of it.
  if (/^[\0-\x7f]*$/.test(lower)) return lower;
  return lower.normalize('NFKD').replace(/\p{M}/gu, '').replaceAll('ß', 'ss');
}

function holds(record: unknown, wanted: string) {
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
