/**
 * The backups on the server, newest first: the last thirty days as bars, then one entry each,
 * whose strip is as long as the backup has records, in the colours of their categories.
 */

import { CATEGORIES } from '../src/index.js';
import { byId, element, smallButton } from './dom.js';
import {
  clockOf,
  countOf,
  dayOf,
  daysBetween,
  momentOf,
  plural,
  sizeOf,
} from './format.js';
import { losses } from './losses.js';

/** @typedef {import('../src/index.js').Backup} Backup */

/** @typedef {Record<'open' | 'download' | 'remove', (backup: Backup) => unknown>} Actions */

/** Entries that are shown at once, and with each press of the button after them. */
const PAGE = 12;

const DAYS = 30;

const root = byId('timeline', HTMLDivElement);
const summary = byId('summary', HTMLParagraphElement);

/**
 * @param {Backup[]} backups newest first
 * @param {Actions} actions
 * @param {number} [shown]
 */
export function showTimeline(backups, actions, shown = PAGE) {
  root.setAttribute('aria-busy', 'false');
  summary.textContent = backups.length ? summaryOf(backups) : '';
  if (!backups.length) {
    root.replaceChildren(emptyState());
    return;
  }
  const now = new Date();
  const largest = Math.max(1, ...backups.map(recordsIn));
  const visible = backups.slice(0, shown);
  const sections = [...byDay(visible, now)].map(([day, entries]) =>
    element(
      'section',
      { class: 'day' },
      dayHeading(day, new Date(entries[0].timestamp), now),
      element(
        'ol',
        {},
        ...entries.map((backup) => {
          const before = backups[backups.indexOf(backup) + 1];
          return entry(backup, before, largest, actions);
        }),
      ),
    ),
  );
  const list = element('div', { class: 'days' }, ...sections);
  root.replaceChildren(month(backups, now), list);
  if (visible.length < backups.length) {
    const more = () => {
      showTimeline(backups, actions, shown + PAGE);
      root.querySelectorAll('.entry')[shown].querySelector('button')?.focus();
    };
    const left = backups.length - visible.length;
    const text = `Show ${Math.min(PAGE, left)} of ${left} older ones`;
    list.append(smallButton(text, more));
  }
}

/**
 * @param {string} reason
 * @param {() => void} retry
 */
export function showTimelineError(reason, retry) {
  root.setAttribute('aria-busy', 'false');
  summary.textContent = '';
  root.replaceChildren(
    element(
      'div',
      { class: 'blank', role: 'alert' },
      element('h2', { text: 'The backups can’t be listed' }),
      element('p', { text: reason }),
      smallButton('Try again', retry),
    ),
  );
}

/**
 * @param {Backup[]} backups
 * @param {Date} now
 */
function byDay(backups, now) {
  /** @type {Map<string, Backup[]>} */
  const days = new Map();
  for (const backup of backups) {
    const day = dayOf(new Date(backup.timestamp), now);
    days.set(day, [...(days.get(day) ?? []), backup]);
  }
  return days;
}

/**
 * @param {string} day
 * @param {Date} time
 * @param {Date} now
 */
function dayHeading(day, time, now) {
  if (daysBetween(time, now) > 1) {
    const weekday = time.toLocaleDateString(undefined, { weekday: 'long' });
    return element('h2', {}, element('small', { text: weekday }), ` ${day}`);
  }
  return element('h2', { text: day });
}

/** @param {Backup[]} backups */
function summaryOf(backups) {
  const bytes = backups.reduce((sum, { size }) => sum + size, 0);
  return `${plural(backups.length, 'backup')}, ${sizeOf(bytes)} in all`;
}

function emptyState() {
  return element(
    'div',
    { class: 'blank' },
    element('h2', { text: 'No backups yet' }),
    element('p', { text: 'The first one is made when you leave this page, or right now.' }),
  );
}

/**
 * One bar a day, as high as there are backups. The sentence is for those who don't see it.
 *
 * @param {Backup[]} backups
 * @param {Date} now
 */
function month(backups, now) {
  const perDay = Array(DAYS).fill(0);
  for (const { timestamp } of backups) {
    const age = daysBetween(new Date(timestamp), now);
    if (age >= 0 && age < DAYS) perDay[DAYS - 1 - age] += 1;
  }
  const highest = Math.max(1, ...perDay);
  const bars = perDay.map((count) => {
    const bar = element('span');
    // By the object model: the page's policy forbids style attributes, not this.
    bar.style.setProperty('--height', String(count / highest));
    return bar;
  });
  const first = new Date(now);
  first.setDate(now.getDate() - DAYS + 1);
  const edge = first.toLocaleDateString(undefined, { day: 'numeric', month: 'short' });
  const total = perDay.reduce((sum, count) => sum + count, 0);
  const active = perDay.filter(Boolean).length;
  const sentence = `${plural(total, 'backup')} on ${plural(active, 'day')} of the last ${DAYS}`;
  return element(
    'figure',
    {},
    element('div', { class: 'bars', 'aria-hidden': 'true' }, ...bars),
    element(
      'figcaption',
      {},
      element('span', { text: edge, 'aria-hidden': 'true' }),
      element('span', { text: sentence }),
      element('span', { text: 'Today', 'aria-hidden': 'true' }),
    ),
  );
}

/**
 * @param {Backup} backup
 * @param {Backup | undefined} before the one made before it
 * @param {number} largest the most records that any backup has
 * @param {Actions} actions
 */
function entry(backup, before, largest, { open, download, remove }) {
  const name = `the backup of ${momentOf(backup.timestamp)}`;
  const counts = CATEGORIES.filter((category) => backup.counts[category]).map((category) => {
    const text = countOf(backup.counts[category], category);
    return element('span', { 'data-category': category, text });
  });
  const lost = losses(backup, before);
  return element(
    'li',
    { class: 'entry', 'data-id': backup.id },
    element(
      'div',
      {},
      element('time', { datetime: backup.timestamp, text: clockOf(new Date(backup.timestamp)) }),
      element('span', { class: 'detail', text: detailOf(backup, before) }),
      strip(backup, largest),
      element('p', { class: 'counts' }, ...(counts.length ? counts : ['Nothing in it'])),
      ...(before && lost.length ? [lossNotice(lost, before, open)] : []),
    ),
    element(
      'div',
      { class: 'actions' },
      smallButton('Restore…', () => open(backup), `Restore from ${name}`),
      smallButton('Download', () => download(backup), `Download ${name}`),
      smallButton('Delete', () => remove(backup), `Delete ${name}`),
    ),
  );
}

/**
 * @param {string[]} lost
 * @param {Backup} before
 * @param {Actions['open']} open
 */
function lossNotice(lost, before, open) {
  const made = momentOf(before.timestamp);
  return element(
    'p',
    { class: 'loss' },
    element('b', { text: `Lost ${lost.join(', ')}.` }),
    ' The backup before has them: ',
    smallButton(made, () => open(before), `${made}: view the backup before`),
  );
}

/**
 * @param {Backup} backup
 * @param {number} largest
 */
function strip(backup, largest) {
  const segments = CATEGORIES.filter((category) => backup.counts[category]).map((category) => {
    const segment = element('span', { 'data-category': category });
    segment.style.setProperty('--share', String(backup.counts[category]));
    return segment;
  });
  const made = element('div', { class: 'strip', 'aria-hidden': 'true' }, ...segments);
  made.style.setProperty('--length', String(recordsIn(backup) / largest));
  return made;
}

/**
 * @param {Backup} backup
 * @param {Backup | undefined} before
 */
function detailOf(backup, before) {
  const size = sizeOf(backup.size);
  if (!before) return `${size}, the first`;
  const changes = CATEGORIES.map((category) => {
    const more = backup.counts[category] - before.counts[category];
    return more && `${more > 0 ? '+' : '−'}${countOf(Math.abs(more), category)}`;
  });
  return `${size}, ${changes.filter(Boolean).join(', ') || 'as many as before'}`;
}

/** @param {Backup} backup */
function recordsIn({ counts }) {
  return CATEGORIES.reduce((sum, category) => sum + counts[category], 0);
}
