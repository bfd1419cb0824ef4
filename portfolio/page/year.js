/**
 * A year of days, a column a week: the darker, the more backups. A press on a day goes there.
 */

import { byId, element, renew } from './dom.js';
import { dayKey, daysBetween, plural, shortMonth, wholeDay } from './format.js';

/** @typedef {import('./series.js').Entry} Entry */

const WEEKS = 53;

const root = byId('year', HTMLElement);

/**
 * @param {Entry[]} entries newest first
 * @param {boolean} complete whether there are no earlier ones
 * @param {(day: string) => void} go
 */
export function showYear(entries, complete, go) {
  root.hidden = entries.length === 0;
  if (!entries.length) return;
  const now = new Date();
  const days = daysUntil(now);
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const { day } of entries) counts.set(day, (counts.get(day) ?? 0) + 1);
  const known = complete || entries[entries.length - 1].time < days[0];
  const caption = known ? captionOf(days, counts) : 'Reading the earlier ones…';
  const grid = element('div', { class: 'scroll' }, months(days), cells(days, counts, go));
  const isNew = !root.firstElementChild;
  renew(root, root.children[0], grid);
  renew(root, root.children[1], element('figcaption', { text: caption }));
  if (isNew || root.children[0] === grid) root.children[0].scrollLeft = 10_000;
}

/** @param {Date} now @returns {Date[]} from the first day of a week on */
function daysUntil(now) {
  const sinceMonday = (now.getDay() + 6) % 7;
  const count = (WEEKS - 1) * 7 + sinceMonday + 1;
  return Array.from({ length: count }, (_, index) => {
    return new Date(now.getFullYear(), now.getMonth(), now.getDate() - (count - 1 - index));
  });
}

/** @param {Date[]} days */
function months(days) {
  const row = element('div', { class: 'months', 'aria-hidden': 'true' });
  days.forEach((day, index) => {
    // One that would run into the edge is left out.
    if (day.getDate() !== 1 || index > (WEEKS - 3) * 7) return;
    const label = element('span', { text: shortMonth(day) });
    label.style.setProperty('--week', String(Math.floor(index / 7) + 1));
    row.append(label);
  });
  return row;
}

/**
 * @param {Date[]} days
 * @param {Map<string, number>} counts
 * @param {(day: string) => void} go
 */
function cells(days, counts, go) {
  const highest = Math.max(1, ...days.map((day) => counts.get(dayKey(day)) ?? 0));
  const made = days.map((day) => {
    const key = dayKey(day);
    const count = counts.get(key);
    if (!count) return element('span');
    const level = String(Math.ceil((4 * Math.log(count + 1)) / Math.log(highest + 1)));
    const label = `${wholeDay(day)}, ${plural(count, 'backup')}`;
    const attributes = { type: 'button', tabindex: '-1', title: label, 'aria-label': label };
    const cell = element('button', { ...attributes, 'data-level': level, 'data-key': key });
    cell.addEventListener('click', () => go(key));
    return cell;
  });
  const buttons = made.filter((cell) => cell instanceof HTMLButtonElement);
  const last = buttons.at(-1);
  if (last) last.tabIndex = 0;
  const attributes = { class: 'cells', role: 'toolbar', 'aria-label': 'Days with backups' };
  const grid = element('div', attributes, ...made);
  grid.addEventListener('keydown', (event) => move(event, buttons));
  return grid;
}

/**
 * One of the days is reached by Tab, the others from there by arrows.
 *
 * @param {KeyboardEvent} event
 * @param {HTMLButtonElement[]} buttons
 */
function move(event, buttons) {
  const at = buttons.findIndex((button) => button === event.target);
  const last = buttons.length - 1;
  /** @type {Record<string, number>} */
  const steps = { ArrowLeft: at - 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowDown: at + 1 };
  const next = { ...steps, Home: 0, End: last }[event.key];
  if (next === undefined || !buttons[next]) return;
  event.preventDefault();
  buttons[at].tabIndex = -1;
  buttons[next].tabIndex = 0;
  buttons[next].focus();
}

/**
 * @param {Date[]} days
 * @param {Map<string, number>} counts
 */
function captionOf(days, counts) {
  const since = days.slice(days.findIndex((day) => counts.has(dayKey(day))));
  const active = since.filter((day) => counts.has(dayKey(day)));
  if (!active.length) return 'No backups in the last year';
  const gaps = active.map((day, index) => daysBetween(day, active[index + 1] ?? days.at(-1)) - 1);
  const longest = Math.max(...gaps);
  const sum = active.reduce((total, day) => total + (counts.get(dayKey(day)) ?? 0), 0);
  const text = `${plural(sum, 'backup')} on ${plural(active.length, 'day')} of the last year`;
  const after = active[gaps.indexOf(longest)];
  return longest > 0 ? `${text}; longest gap ${plural(longest, 'day')}, after ${wholeDay(after)}` : text;
}
