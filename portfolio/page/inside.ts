/**
 * The dialog that shows what is inside a backup: its records by category, searched, ordered,
 * opened, ticked, and brought back.
 */

import { html, nothing, render } from 'lit-html';
import { guard } from 'lit-html/directives/guard.js';
import { live } from 'lit-html/directives/live.js';

import {
  type BackupDocument, CATEGORIES, type Category, type PlannedRecord as Row, previewRestore,
  readBackup, restoreFromBackup, type RestoreResult,
} from '../src/index.js';
import { byId, formDialog, longList, setText } from './dom.js';
import { categoryName, momentOf, plural, sizeOf } from './format.js';
import { recordView, shortened, timeOf, titleOf } from './record.js';
import { folded, search } from './search.js';
import type { Entry } from './series.js';

/** Rows of a category that are shown at once. */
const FIRST = 8;

/** What is decided first comes first. */
const ORDER = ['conflict', 'replace', 'add', 'same'];

const HERE = {
  conflict: 'newer here', replace: 'differs here', add: 'not here', same: 'same here',
};

/** What rows are ordered by, worked out once for each: a collator takes a second for 10,000. */
const ORDERS: Record<string, (row: Row) => string | number> = {
  state: ({ action }) => ORDER.indexOf(action),
  title: (row) => folded(titleOf(row)).replace(/\d+/g, (digits) => digits.padStart(9, '0')),
  date: ({ inBackup }) => -timeOf(inBackup),
};

const shown = byId('inside-dialog', HTMLDialogElement);
const list = byId('inside-list', HTMLDivElement);
const tools = byId('inside-tools', HTMLDivElement);
const query = byId('inside-search', HTMLInputElement);
const order = byId('inside-order', HTMLSelectElement);
const all = byId('inside-all', HTMLInputElement);

/** What the dialog restores from: the server by an id, or the document out of a file. */
let source: string | BackupDocument;

let rows: Row[] = [];

/** Those that the search has found. */
let found: Row[] = [];

const ticked = new Set<Row>();

/** Those whose contents are shown. */
const open = new Set<Row>();

/** The newest opening and the newest search: what an older one finds is not shown. */
let opened = 0;
let searched = 0;

let done: (result: RestoreResult) => void;

const dialog = formDialog('inside-dialog', async () => {
  const replaced = new Set([...ticked].filter(isConflict).map(nameOf));
  const result = await restoreFromBackup(source, keysByCategory(ticked), {
    // What became newer only since it was shown stays.
    conflicts: (record) => (replaced.has(nameOf(record)) ? 'replace' : 'keep'),
  });
  done(result);
});

shown.addEventListener('close', () => {
  // The event comes later than the closing; the dialog may show another backup by then.
  if (!shown.open) forget();
});
query.addEventListener('input', find);
order.addEventListener('change', find);
all.addEventListener('change', () => tick(found.filter(isMissed), all.checked));

export async function openInside(chosen: Entry | File, onDone: (result: RestoreResult) => void) {
  done = onDone;
  begin(chosen);
  const question = opened;
  try {
    const document = await readBackup(chosen instanceof File ? chosen : chosen.id);
    const planned = await previewRestore(document);
    if (question !== opened) return;
    source = chosen instanceof File ? document : chosen.id;
    rows = planned;
    describe(document, chosen);
    tools.hidden = false;
    await find();
  } catch (error) {
    if (question !== opened) return;
    setText('inside-about', '');
    dialog.fail(error);
  } finally {
    if (question === opened) list.setAttribute('aria-busy', 'false');
  }
}

/** What is read may be large, and what is still being read is not wanted any more. */
function forget() {
  opened += 1;
  searched += 1;
  source = '';
  rows = found = [];
  ticked.clear();
  open.clear();
  render(nothing, list);
}

function begin(chosen: Entry | File) {
  forget();
  query.value = '';
  tools.hidden = true;
  list.setAttribute('aria-busy', 'true');
  const isFile = chosen instanceof File;
  setText('inside-title', isFile ? chosen.name : `Backup of ${momentOf(chosen.time)}`);
  setText('inside-about', 'Reading it…');
  setText('inside-summary', '');
  dialog.open();
  dialog.button.disabled = true;
  dialog.button.textContent = 'Restore';
}

function describe(document: BackupDocument & { device?: unknown }, chosen: Entry | File) {
  const { timestamp, device, data } = document;
  // Older files have the name of the device in their data.
  const name = device ?? data.device;
  const parts = [
    typeof name === 'string' && name && `From ${shortened(name)}`,
    chosen instanceof File && `Backup of ${momentOf(new Date(timestamp))}`,
    plural(rows.length, 'record'),
    sizeOf(chosen.size),
  ];
  setText('inside-about', parts.filter(Boolean).join(' · '));
}

async function find() {
  const question = (searched += 1);
  const matching = await search(rows, query.value.trim(), () => question === searched);
  if (!matching) return;
  const keyed = matching.map((row) => ({ row, key: ORDERS[order.value](row) }));
  keyed.sort((a, b) => (a.key < b.key ? -1 : Number(a.key > b.key)));
  found = keyed.map(({ row }) => row);
  draw();
}

function draw() {
  const empty = rows.length ? 'Nothing found.' : 'It is empty.';
  render(found.length ? CATEGORIES.map(group) : html`<p>${empty}</p>`, list);
  const missed = found.filter(isMissed);
  Object.assign(all, boxOf(missed));
  const which = query.value.trim() ? 'Of these,' : 'All';
  setText('inside-all-text', `${which} missing or different here: ${missed.length}`);
  setText('inside-summary', summary());
  dialog.button.disabled = ticked.size === 0;
  dialog.button.textContent = ticked.size ? `Restore ${plural(ticked.size, 'record')}` : 'Restore';
}

function group(category: Category) {
  const members = found.filter((row) => row.category === category);
  if (!members.length) return nothing;
  const number = members.length.toLocaleString('en');
  const about = category === 'voiceNotes' ? `${number} · transcripts, no audio` : number;
  return html`<section data-category=${category}>
    <h3><label>${checkbox(members.filter(isMissed))}<b>${categoryName(category)}</b></label>
      <small>${about}</small></h3>
    ${longList(`${category} ${opened}`, members, item, FIRST, draw)}
  </section>`;
}

function item(row: Row) {
  const title = titleOf(row);
  const state = HERE[row.action];
  const toggle = () => {
    if (!open.delete(row)) open.add(row);
    draw();
  };
  return html`<li>
    <div class="row">
      <label>${checkbox(row.action === 'same' ? [] : [row])}<span>${title}</span>
        ${isConflict(row) ? html`<mark>${state}</mark>` : html`<small>${state}</small>`}</label>
      <button class="fold" type="button" aria-label=${`Show ${title}`}
        aria-expanded=${open.has(row)} @click=${toggle}></button>
    </div>
    ${open.has(row) ? guard([row], () => recordView(row)) : nothing}
  </li>`;
}

/** @param those that it ticks */
function checkbox(those: Row[]) {
  const { disabled, checked, indeterminate } = boxOf(those);
  const change = ({ target }: { target: HTMLInputElement }) => tick(those, target.checked);
  return html`<input type="checkbox" ?disabled=${disabled} .checked=${live(checked)}
    .indeterminate=${live(indeterminate)} @change=${change} />`;
}

function boxOf(those: Row[]) {
  const count = those.filter((row) => ticked.has(row)).length;
  const checked = count > 0 && count === those.length;
  return { disabled: those.length === 0, checked, indeterminate: count > 0 && !checked };
}

function tick(those: Row[], on: boolean) {
  for (const row of those) ticked[on ? 'add' : 'delete'](row);
  draw();
}

function summary() {
  if (rows.length && rows.every(({ action }) => action === 'same')) {
    return 'All of it is here already, as it is in the backup.';
  }
  if (!ticked.size) return rows.length ? 'Tick what to bring back.' : '';
  const words = { add: 'new here', replace: 'as in the backup', conflict: 'newer here, replaced' };
  const counts = Map.groupBy<string, Row>(ticked, ({ action }) => action);
  const parts = Object.entries(words).map(([action, text]) => {
    const count = counts.get(action)?.length;
    return count && `${count.toLocaleString('en')} ${text}`;
  });
  return parts.filter(Boolean).join(' · ');
}

/** Whether ticking everything includes it: a newer record is replaced only by its own tick. */
function isMissed({ action }: Row) {
  return action === 'add' || action === 'replace';
}

function isConflict({ action }: Row) {
  return action === 'conflict';
}

function keysByCategory(those: Iterable<Row>): Partial<Record<Category, IDBValidKey[]>> {
  const byCategory = [...Map.groupBy(those, ({ category }) => category)];
  return Object.fromEntries(byCategory.map(([name, group]) => [name, group.map(({ key }) => key)]));
}

function nameOf({ category, key }: Row) {
  return `${category}/${JSON.stringify(key)}`;
}
