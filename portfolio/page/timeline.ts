/**
 * The backups on the server, newest first: one line each, in days that are folded into one line but
 * for the newest, under the names of their months. A line opens in place.
 */

import { html, nothing, render } from 'lit-html';
import { keyed } from 'lit-html/directives/keyed.js';
import { live } from 'lit-html/directives/live.js';
import { repeat } from 'lit-html/directives/repeat.js';

import { CATEGORIES } from '../src/index.js';
import { turns } from '../src/turns.js';
import { byId, longList, menuButton, setText, smallButton } from './dom.js';
import {
  clockOf, countOf, dayInMonth, momentOf, monthOf, plural, sizeOf, wholeDay,
} from './format.js';
import {
  bytesOf, changeOf, devicesOf, differences, type Entry, losses, type Predecessors, predecessors,
  recordsIn, seriesOf,
} from './series.js';

/** What the menus lead to. */
type Actions = Record<'open' | 'download' | 'remove', (entry: Entry) => unknown> & {
  thin: (entries: Entry[], before: Predecessors) => void;
};

/** Lines of an open day that are shown at once. */
const FIRST = 60;

const root = byId('timeline', HTMLDivElement);

/** What is drawn. */
let entries: Entry[] = [];
let complete = false;
let before = predecessors([], true);
let devices = devicesOf([]);
let largest = 1;

/** Days that were opened (true) or closed, and backups. */
const opened = new Map<string, boolean>();

/** The chosen backups, while some are being chosen. */
let chosen: Set<string> | null = null;

/** The newest drawing: an older one stops. */
let drawn = 0;

let actions: Actions;

export function startTimeline(given: Actions) {
  actions = given;
  const thin = () => actions.thin(entries.filter(({ id }) => chosen?.has(id)), before);
  byId('chosen-thin', HTMLButtonElement).addEventListener('click', thin);
  byId('chosen-done', HTMLButtonElement).addEventListener('click', () => choose(null));
}

/** Newest first; `isComplete`: the list has been read to its end. */
export function showTimeline(listed: Entry[], isComplete: boolean) {
  [entries, complete] = [listed, isComplete];
  before = predecessors(entries, complete);
  devices = devicesOf(entries);
  largest = Math.max(1, ...entries.map(recordsIn));
  void draw();
}

/** Opens, shows and focuses a day. */
export function goTo(day: string) {
  setOpen(day, day, true);
  const section = root.querySelector(`[data-day="${day}"]`);
  section?.querySelector('button')?.focus({ preventScroll: true });
  section?.scrollIntoView({ block: 'center' });
}

/** Of ids; null: nothing is to be chosen any more. */
export function choose(ids: Set<string> | null) {
  chosen = ids;
  void draw();
}

/** Month by month, in turns: ten years have thousands of days. `only`: that one month again. */
async function draw(only?: string) {
  const drawing = only ? drawn : (drawn += 1);
  showChosen();
  const turn = turns();
  const months = [...Map.groupBy(entries, ({ day }) => day.slice(0, 7))];
  while (root.children.length > months.length) root.lastElementChild?.remove();
  for (const [index, [month, those]] of months.entries()) {
    if (only && month !== only) continue;
    const place = root.children[index] ?? root.appendChild(document.createElement('section'));
    place.className = 'month';
    render(keyed(month, monthView(those)), place as HTMLElement);
    await turn();
    if (drawing !== drawn) return;
  }
  root.setAttribute('aria-busy', String(!complete));
}

/** `key`: a day, or a backup of it. */
function setOpen(key: string, day: string, isOpen: boolean) {
  opened.set(key, isOpen);
  void draw(day.slice(0, 7));
}

function monthView(those: Entry[]) {
  const days = [...Map.groupBy(those, ({ day }) => day)];
  return html`<h2>${monthOf(those[0].time)} <small>${plural(those.length, 'backup')}</small></h2>
    ${repeat(days, ([day]) => day, ([day, list]) => dayView(day, list))}`;
}

function dayView(day: string, those: Entry[]) {
  const isOpen = opened.get(day) ?? day === entries[0].day;
  const name = dayInMonth(those[0].time, new Date());
  const lost = those.flatMap((entry) => losses(entry, before.get(entry)));
  const about = [plural(those.length, 'backup'), ...changesOf(those)].join(', ');
  const menu = menuButton(`More for ${wholeDay(those[0].time)}`, () => [
    ['Thin out…', () => actions.thin(those, before)],
    ['Select', () => choose(new Set([...(chosen ?? []), ...those.map(({ id }) => id)]))],
  ]);
  const redraw = () => draw(day.slice(0, 7));
  const lines = () => longList(day, those, (_, index) => line(those, index), FIRST, redraw);
  return html`<section class="day" data-day=${day}>
    <div class="row">
      ${choiceBox(name, those)}
      <h3><button class="fold" type="button" aria-expanded=${isOpen}
        @click=${() => setOpen(day, day, !isOpen)}>
        <b>${name}</b> <span class="change">${about}</span>
        ${lost.length ? html`<span class="lost">lost ${lost.join(', ')}</span>` : nothing}
      </button></h3>
      ${menu}
    </div>
    ${isOpen ? lines() : nothing}
  </section>`;
}

/** What a day changed; nothing where that isn't known. */
function changesOf(those: Entry[]) {
  if (!complete && those.some((entry) => !before.get(entry))) return [];
  return differences(those.flatMap((entry) => {
    const earlier = before.get(entry);
    return earlier ? [[earlier, entry]] : [];
  }));
}

function line(day: Entry[], index: number) {
  const entry = day[index];
  const { id, time } = entry;
  const isOpen = opened.get(id) ?? false;
  const neighbours = [day[index - 1], day[index + 1]];
  const shared = neighbours.some((other) => other && clockOf(other.time) === clockOf(time));
  const lost = losses(entry, before.get(entry));
  const [kind, change] = lost.length
    ? ['lost', `lost ${lost.join(', ')}`]
    : ['change', changeOf(entry, before.get(entry), complete)];
  const name = `the backup of ${momentOf(time)}`;
  const device = devices.get(seriesOf(entry))?.name;
  const menu = menuButton(`More for ${name}`, () => [
    ['Look inside…', () => actions.open(entry)],
    ['Download', () => actions.download(entry)],
    ['Select', () => choose(new Set([...(chosen ?? []), id]))],
    ['Delete…', () => actions.remove(entry)],
  ]);
  return html`<li class="entry" data-id=${id}>
    <div class="row">
      ${choiceBox(name, [entry])}
      <button class="fold" type="button" aria-expanded=${isOpen}
        @click=${() => setOpen(id, entry.day, !isOpen)}>
        <time datetime=${entry.timestamp}>${clockOf(time, shared)}</time>
        ${devices.size > 1 ? html`<span class="device">${device}</span>` : nothing}
        <span class=${kind}>${change}</span>
      </button>
      ${menu}
    </div>
    ${isOpen ? detail(entry, lost) : nothing}
  </li>`;
}

function detail(entry: Entry, lost: string[]) {
  const { counts } = entry;
  const present = CATEGORIES.filter((category) => counts[category]);
  // By the object model: the page's policy forbids style attributes, not this.
  const share = `--length: ${recordsIn(entry) / largest}`;
  return html`<div class="detailed">
    ${lost.length ? lossNotice(lost, before.get(entry) as Entry) : nothing}
    <div class="strip" aria-hidden="true" .style=${share}>${present.map((category) => html`
      <span data-category=${category} .style=${`--share: ${counts[category]}`}></span>`)}
    </div>
    <p class="counts">${present.map((category) => html`
      <span data-category=${category}>${countOf(counts[category], category)}</span>`)}
      <small>${sizeOf(entry.size)}</small>
      ${smallButton('Look inside…', () => actions.open(entry))}
    </p>
  </div>`;
}

function lossNotice(lost: string[], earlier: Entry) {
  const made = momentOf(earlier.time);
  const look = smallButton(made, () => actions.open(earlier), `${made}: view the backup before`);
  const words = html`<b>Lost ${lost.join(', ')}.</b> The backup before has them: `;
  return html`<p class="loss">${words}${look}</p>`;
}

/** Chooses those, while some are being chosen. */
function choiceBox(name: string, those: Entry[]) {
  const set = chosen;
  if (!set) return nothing;
  const count = those.filter(({ id }) => set.has(id)).length;
  const toggle = () => {
    for (const { id } of those) set[count < those.length ? 'add' : 'delete'](id);
    void draw();
  };
  return html`<input type="checkbox" aria-label=${`Select ${name}`} @change=${toggle}
    .checked=${live(count === those.length)}
    .indeterminate=${live(count > 0 && count < those.length)} />`;
}

function showChosen() {
  const those = entries.filter(({ id }) => chosen?.has(id));
  byId('chosen', HTMLElement).hidden = !chosen;
  setText('chosen-text', `${plural(those.length, 'backup')}, ${sizeOf(bytesOf(those))}`);
  byId('chosen-thin', HTMLButtonElement).disabled = those.length < 2;
}
