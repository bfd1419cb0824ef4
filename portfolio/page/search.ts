/** Searching records by everything that is written in them: `strasse` finds `Straße`. */

import type { PlannedRecord as Row } from '../src/index.js';
import { turns } from '../src/turns.js';

/** Finds words whatever their case and accents; null once they are no longer wanted. */
export async function search(rows: Row[], words: string, isWanted: () => boolean) {
  if (!words) return rows;
  const wanted = folded(JSON.stringify(words).slice(1, -1));
  const turn = turns();
  const found = [];
  for (const row of rows) {
    if (folded(JSON.stringify(row.inBackup, valuesOnly)).includes(wanted)) found.push(row);
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

/** The names of members are not searched. */
function valuesOnly(_name: string, value: unknown) {
  return typeof value === 'object' && value !== null ? Object.values(value) : value;
}
