/**
 * Which backups lost much: the rule of the server's `check` and `prune` commands.
 */

import { CATEGORIES } from '../src/index.js';
import { countOf } from './format.js';

/** @typedef {import('../src/index.js').Backup} Backup */

/**
 * @param {Backup} backup
 * @param {Backup | undefined} before the one made before it
 * @returns {string[]} what a category lost that has half of its items or fewer, in words
 */
export function losses(backup, before) {
  if (!before) return [];
  return CATEGORIES.filter((category) => {
    return before.counts[category] > 0 && backup.counts[category] * 2 <= before.counts[category];
  }).map((category) => {
    const [had, has] = [before.counts[category], backup.counts[category]];
    const all = had === 1 ? 'the only' : 'all';
    return has ? `${had - has} of ${countOf(had, category)}` : `${all} ${countOf(had, category)}`;
  });
}
