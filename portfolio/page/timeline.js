/**
 * The backups on the server, newest first: one line each, in days that are folded into one line but
 * for the newest, under the names of their months. A line opens in place.
 */

import { CATEGORIES } from '../src/index.js';
import { turns } from '../src/turns.js';
import { byId, disclosure, element, longList, menuButton, renew, smallButton } from './dom.js';
import {
  clockOf, countOf, dayInMonth, momentOf, monthOf, plural, sizeOf, wholeDay,
} from './format.js';
import { changeOf, devicesOf, differences, losses, predecessors, recordsIn, seriesOf } from './series.js';

/** @typedef {import('./series.js').Entry} Entry */

/**
 * @typedef {object} Actions what the menus lead to
 * @property {(entry: Entry) => void} open
 * @property {(entry: Entry) => void} download
 * @property {(entry: Entry) => void} remove
 * @property {(entries: Entry[]) => void} thin
 */

/** Lines of an open day that are shown at once. */
const FIRST = 60;

const root = byId('timeline', HTMLDivElement);

/** What is drawn. */
let list = {
  entries: /** @type {Entry[]} */ ([]),
  before: /** @type {import('./series.js').Predecessors} */ (new Map()),
  devices: devicesOf([]),
  complete: false,
  largest: 1,
};

/** Days that were opened (true) or closed, and backups that were opened.
 * @type {Map<string, boolean>} */
const opened = new Map();

/** The chosen backups, while some are being chosen. @type {Set<string> | null} */
let chosen = null;

/** The newest drawing: an older one stops. */
let drawn = 0;

/** @type {Actions} */
let actions;

/** @param {Actions} given */
export function startTimeline(given) {
  actions = given;
  byId('chosen-thin', HTMLButtonElement).addEventListener('click', () => actions.thin(allChosen()));
  byId('chosen-done', HTMLButtonElement).addEventListener('click', () => choose(null));
}

/**
 * @param {Entry[]} entries newest first
 * @param {boolean} complete whether the list has been read to its end
 * @returns {Promise<void>} once the last month is drawn
 */
export async function showTimeline(entries, complete) {
  const largest = Math.max(1, ...entries.map(recordsIn));
  const before = predecessors(entries, complete);
  list = { entries, before, devices: devicesOf(entries), complete, largest };
  await draw();
}

/** @returns what is drawn: the entries, and what each is compared with */
export function shownList() {
  return list;
}

/** @param {string} day opened, shown, and focused */
export function goTo(day) {
  opened.set(day, true);
  const old = root.querySelector(`[data-day="${day}"]`);
  if (!old) return;
  const made = daySection(day, list.entries.filter((entry) => entry.day === day), new Date());
  old.replaceWith(made);
  made.querySelector('button')?.focus({ preventScroll: true });
  made.scrollIntoView({ block: 'center' });
}

/** @param {Set<string> | null} ids null: nothing is to be chosen any more */
export function choose(ids) {
  chosen = ids;
  void draw();
}

async function draw() {
  const drawing = (drawn += 1);
  const turn = turns();
  const now = new Date();
  showChosen();
  const months = Map.groupBy(list.entries, ({ day }) => day.slice(0, 7));
  const sections = [...root.children];
  let index = 0;
  for (const [month, entries] of months) {
    renew(root, sections[index], monthSection(month, entries, now));
    index += 1;
    await turn();
    if (drawing !== drawn) return;
  }
  for (const left of sections.slice(index)) left.remove();
  root.setAttribute('aria-busy', String(!list.complete));
}

/**
 * @param {string} month
 * @param {Entry[]} entries
 * @param {Date} now
 */
function monthSection(month, entries, now) {
  const count = element('small', { text: plural(entries.length, 'backup') });
  const days = Map.groupBy(entries, ({ day }) => day);
  return element(
    'section',
    { class: 'month' },
    element('h2', {}, `${monthOf(entries[0].time)} `, count),
    ...[...days].map(([day, those]) => daySection(day, those, now)),
  );
}

/**
 * @param {string} day
 * @param {Entry[]} entries
 * @param {Date} now
 */
function daySection(day, entries, now) {
  const name = dayInMonth(entries[0].time, now);
  const lost = entries.flatMap((entry) => losses(entry, list.before.get(entry)));
  const detail = [plural(entries.length, 'backup'), ...daysChange(entries)].join(', ');
  const button = foldButton(
    `day ${day}`,
    element('b', { text: name }),
    element('span', { class: 'change', text: detail }),
    ...(lost.length ? [element('span', { class: 'lost', text: `lost ${lost.join(', ')}` })] : []),
  );
  const isOpen = opened.get(day) ?? day === list.entries[0].day;
  const lines = () => longList(entries, (entry) => line(entry, entries), FIRST);
  const content = disclosure(button, lines, isOpen, (open) => opened.set(day, open));
  const menu = menuButton(`More for ${wholeDay(entries[0].time)}`, `menu ${day}`, () => [
    ...(entries.length > 1
      ? [/** @type {import('./dom.js').Choice} */ (['Thin out…', () => actions.thin(entries)])]
      : []),
    ['Select', () => choose(new Set([...(chosen ?? []), ...entries.map(({ id }) => id)]))],
  ]);
  const heading = element('h3', {}, button);
  const row = element('div', { class: 'row' }, ...choiceBox(name, entries), heading, menu);
  return element('section', { class: 'day', 'data-day': day }, row, content);
}

/**
 * @param {Entry[]} entries of a day
 * @returns {string[]} what they changed; nothing where some predecessor isn't known
 */
function daysChange(entries) {
  /** @type {[Entry, Entry][]} */
  const steps = [];
  for (const entry of entries) {
    const before = list.before.get(entry);
    if (before) steps.push([before, entry]);
    else if (!list.complete) return [];
  }
  return differences(steps);
}

/**
 * @param {Entry} entry
 * @param {Entry[]} day its whole day
 */
function line(entry, day) {
  const { id, time } = entry;
  const before = list.before.get(entry);
  const lost = losses(entry, before);
  const minute = clockOf(time);
  const withSeconds = day.some((other) => other !== entry && clockOf(other.time) === minute);
  const several = list.devices.size > 1;
  const change = lost.length ? `lost ${lost.join(', ')}` : changeOf(entry, before, list.complete);
  const button = foldButton(
    `line ${id}`,
    element('time', { datetime: entry.timestamp, text: clockOf(time, withSeconds) }),
    ...(several ? [element('span', { class: 'device', text: deviceOf(entry) })] : []),
    element('span', { class: lost.length ? 'lost' : 'change', text: change }),
  );
  const make = () => detail(entry, before, lost);
  const isOpen = opened.get(id) ?? false;
  const content = disclosure(button, make, isOpen, (open) => opened.set(id, open));
  const name = `the backup of ${momentOf(time)}`;
  const menu = menuButton(`More for ${name}`, `menu ${id}`, () => [
    ['Look inside…', () => actions.open(entry)],
    ['Download', () => actions.download(entry)],
    ['Select', () => choose(new Set([...(chosen ?? []), id]))],
    ['Delete…', () => actions.remove(entry)],
  ]);
  const row = element('div', { class: 'row' }, ...choiceBox(name, [entry]), button, menu);
  return element('li', { class: 'entry', 'data-id': id }, row, content);
}

/** @param {Entry} entry */
function deviceOf(entry) {
  return list.devices.get(seriesOf(entry))?.name ?? '';
}

/**
 * @param {Entry} entry
 * @param {Entry | undefined} before
 * @param {string[]} lost
 * @returns {HTMLElement[]} what a line opens to
 */
function detail(entry, before, lost) {
  const present = CATEGORIES.filter((category) => entry.counts[category]);
  const counts = present.map((category) =>
    element('span', { 'data-category': category, text: countOf(entry.counts[category], category) }),
  );
  const about = [sizeOf(entry.size), deviceOf(entry)].filter(Boolean).join(' · ');
  const look = smallButton('Look inside…', () => actions.open(entry));
  look.dataset.key = `look ${entry.id}`;
  return [
    ...(before && lost.length ? [lossNotice(lost, before)] : []),
    strip(entry),
    element('p', { class: 'counts' }, ...(counts.length ? counts : ['Nothing in it'])),
    element('p', { class: 'counts' }, look, element('small', { text: about })),
  ];
}

/**
 * @param {string[]} lost
 * @param {Entry} before
 */
function lossNotice(lost, before) {
  const made = momentOf(before.time);
  return element(
    'p',
    { class: 'loss' },
    element('b', { text: `Lost ${lost.join(', ')}.` }),
    ' The backup before has them: ',
    smallButton(made, () => actions.open(before), `${made}: view the backup before`),
  );
}

/** A bar as long as the backup has records, in the colours of their categories.
 * @param {Entry} entry */
function strip(entry) {
  const segments = CATEGORIES.filter((category) => entry.counts[category]).map((category) => {
    const segment = element('span', { 'data-category': category });
    // By the object model: the page's policy forbids style attributes, not this.
    segment.style.setProperty('--share', String(entry.counts[category]));
    return segment;
  });
  const made = element('div', { class: 'strip', 'aria-hidden': 'true' }, ...segments);
  made.style.setProperty('--length', String(recordsIn(entry) / list.largest));
  return made;
}

/**
 * @param {string} key
 * @param {Node[]} children
 */
function foldButton(key, ...children) {
  // With spaces, which are heard: the parts are told apart by their places only.
  const spaced = children.flatMap((child) => [child, ' ']);
  return element('button', { type: 'button', class: 'fold', 'data-key': key }, ...spaced);
}

/**
 * @param {string} name
 * @param {Entry[]} entries
 * @returns {HTMLElement[]} the box that chooses them, while some are being chosen
 */
function choiceBox(name, entries) {
  if (!chosen) return [];
  const set = chosen;
  const count = entries.filter(({ id }) => set.has(id)).length;
  const key = `box ${entries[0].id} ${entries.length}`;
  const box = element('input', { type: 'checkbox', 'aria-label': `Select ${name}`, 'data-key': key });
  box.checked = count === entries.length;
  box.indeterminate = count > 0 && !box.checked;
  box.toggleAttribute('data-some', count > 0);
  box.addEventListener('change', () => {
    for (const { id } of entries) set[box.checked ? 'add' : 'delete'](id);
    void draw();
  });
  return [box];
}

function allChosen() {
  return list.entries.filter(({ id }) => chosen?.has(id));
}

function showChosen() {
  byId('chosen', HTMLElement).hidden = !chosen;
  const those = allChosen();
  const bytes = those.reduce((sum, { size }) => sum + size, 0);
  byId('chosen-text', HTMLElement).textContent = `${plural(those.length, 'backup')}, ${sizeOf(bytes)}`;
  byId('chosen-thin', HTMLButtonElement).disabled = those.length < 2;
}
