/**
 * The dialog that shows what is inside a backup: its records by category, searched, ordered, opened,
 * ticked, and brought back.
 */

import { CATEGORIES, previewRestore, readBackup, restoreFromBackup } from '../src/index.js';
import { byId, disclosure, element, formDialog, longList, setText } from './dom.js';
import { categoryName, momentOf, plural, sizeOf } from './format.js';
import { recordDetail, shortened, timeOf, titleOf } from './record.js';
import { search } from './search.js';

/** @typedef {import('./series.js').Entry} Entry */
/** @typedef {import('../src/index.js').BackupDocument} BackupDocument */
/** @typedef {import('../src/index.js').Category} Category */
/** @typedef {import('../src/index.js').PlannedRecord} Row */
/** @typedef {import('../src/index.js').RestoreResult} RestoreResult */

/** Rows of a category that are shown at once. */
const FIRST = 8;

/** What is decided first comes first. */
const ORDER = ['conflict', 'replace', 'add', 'same'];

/** What is said of a category once. @type {Partial<Record<Category, string>>} */
const NOTES = { voiceNotes: 'transcripts, no audio' };

const TITLES = new Intl.Collator('en', { numeric: true });

/** @type {Record<string, (a: Row, b: Row) => number>} */
const ORDERS = {
  state: (a, b) => ORDER.indexOf(a.action) - ORDER.indexOf(b.action),
  title: (a, b) => TITLES.compare(titleOf(a), titleOf(b)),
  date: (a, b) => timeOf(b.inBackup) - timeOf(a.inBackup),
};

const HERE = { conflict: 'newer here', replace: 'differs here', add: 'not here', same: 'same here' };

const shown = byId('inside-dialog', HTMLDialogElement);
const list = byId('inside-list', HTMLDivElement);
const tools = byId('inside-tools', HTMLDivElement);
const query = byId('inside-search', HTMLInputElement);
const order = byId('inside-order', HTMLSelectElement);
const all = byId('inside-all', HTMLInputElement);

/** What the dialog restores from: the server by an id, or the document out of a file.
 * @type {string | BackupDocument} */
let source;

/** @type {Row[]} */
let rows = [];

/** Those that the search has found. @type {Row[]} */
let found = [];

/** @type {Set<Row>} */
const ticked = new Set();

/** The boxes on the page and what each one ticks. @type {Map<HTMLInputElement, Row[]>} */
const boxes = new Map();

/** The newest opening and the newest search: what an older one finds is not shown. */
let opened = 0;
let searched = 0;

/** @type {(result: RestoreResult) => void} */
let done;

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

/**
 * @param {Entry | File} chosen
 * @param {(result: RestoreResult) => void} onDone
 */
export async function openInside(chosen, onDone) {
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
  boxes.clear();
  list.replaceChildren();
}

/** @param {Entry | File} chosen */
function begin(chosen) {
  forget();
  query.value = '';
  tools.hidden = true;
  list.setAttribute('aria-busy', 'true');
  setText('inside-title', chosen instanceof File ? chosen.name : `Backup of ${momentOf(chosen.time)}`);
  setText('inside-about', 'Reading it…');
  setText('inside-summary', '');
  dialog.open();
  dialog.button.disabled = true;
  dialog.button.textContent = 'Restore';
}

/**
 * @param {BackupDocument} document
 * @param {Entry | File} chosen
 */
function describe({ timestamp, data, ...head }, chosen) {
  // Of the head; files of before have it in their data.
  const device = /** @type {{device?: unknown}} */ (head).device ?? data.device;
  const parts = [
    typeof device === 'string' && device && `from ${shortened(device)}`,
    chosen instanceof File && `backup of ${momentOf(new Date(timestamp))}`,
    plural(rows.length, 'record'),
    sizeOf(chosen.size),
  ];
  const text = parts.filter(Boolean).join(' · ');
  setText('inside-about', text[0].toUpperCase() + text.slice(1));
}

async function find() {
  const question = (searched += 1);
  const matching = await search(rows, query.value.trim(), () => question === searched);
  if (!matching) return;
  found = matching.toSorted(ORDERS[order.value]);
  boxes.clear();
  list.replaceChildren(...CATEGORIES.map(group).filter((made) => made !== null));
  const nothing = rows.length ? 'Nothing found.' : 'It is empty.';
  if (!found.length) list.append(element('p', { text: nothing }));
  showTicks();
}

/** @param {Category} category */
function group(category) {
  const members = found.filter((row) => row.category === category);
  if (!members.length) return null;
  const box = checkbox(members.filter(isMissed));
  const name = element('label', {}, box, element('b', { text: categoryName(category) }));
  const about = [members.length.toLocaleString(), NOTES[category]].filter(Boolean).join(' · ');
  const count = element('small', { text: about });
  return element(
    'section',
    { 'data-category': category },
    element('h3', {}, name, count),
    ...longList(members, item, FIRST),
  );
}

/** @param {Row} row */
function item(row) {
  const state = element(isConflict(row) ? 'mark' : 'small', { text: HERE[row.action] });
  const title = element('span', { text: titleOf(row) });
  const box = checkbox(row.action === 'same' ? [] : [row]);
  const button = element('button', { type: 'button', class: 'more fold' });
  button.ariaLabel = `Show ${titleOf(row)}`;
  const content = disclosure(button, () => recordDetail(row), false);
  const line = element('div', { class: 'row' }, element('label', {}, box, title, ' ', state), button);
  return element('li', {}, line, content);
}

/** @param {Row[]} those */
function checkbox(those) {
  const box = element('input', { type: 'checkbox' });
  box.addEventListener('change', () => tick(those, box.checked));
  boxes.set(box, those);
  showTick(box, those);
  return box;
}

/**
 * @param {Row[]} those
 * @param {boolean} on
 */
function tick(those, on) {
  for (const row of those) {
    if (on) ticked.add(row);
    else ticked.delete(row);
  }
  showTicks();
}

function showTicks() {
  const missed = found.filter(isMissed);
  boxes.forEach((those, box) => showTick(box, those));
  showTick(all, missed);
  const which = query.value.trim() ? 'Of these,' : 'All';
  setText('inside-all-text', `${which} missing or different here: ${missed.length}`);
  setText('inside-summary', summary());
  dialog.button.disabled = ticked.size === 0;
  dialog.button.textContent = ticked.size ? `Restore ${plural(ticked.size, 'record')}` : 'Restore';
}

/**
 * @param {HTMLInputElement} box
 * @param {Row[]} those that it ticks
 */
function showTick(box, those) {
  const count = those.filter((row) => ticked.has(row)).length;
  box.disabled = those.length === 0;
  box.checked = count > 0 && count === those.length;
  box.indeterminate = count > 0 && count < those.length;
}

function summary() {
  if (rows.length && rows.every(({ action }) => action === 'same')) {
    return 'All of it is here already, as it is in the backup.';
  }
  if (!ticked.size) return rows.length ? 'Tick what to bring back.' : '';
  const of = (/** @type {Row['action']} */ action) =>
    [...ticked].filter((row) => row.action === action).length.toLocaleString();
  const parts = [
    ['add', 'new here'],
    ['replace', 'back to how it was'],
    ['conflict', 'newer here, replaced'],
  ].map(([action, words]) => [of(/** @type {Row['action']} */ (action)), words]);
  return parts.filter(([count]) => count !== '0').map((part) => part.join(' ')).join(' · ');
}

/** Whether ticking everything includes it: a newer record is replaced only by its own tick.
 * @param {Row} row */
function isMissed({ action }) {
  return action === 'add' || action === 'replace';
}

/** @param {Row} row */
function isConflict({ action }) {
  return action === 'conflict';
}

/**
 * @param {Iterable<Row>} those
 * @returns {Partial<Record<Category, IDBValidKey[]>>}
 */
function keysByCategory(those) {
  /** @type {Partial<Record<Category, IDBValidKey[]>>} */
  const keys = {};
  for (const { category, key } of those) (keys[category] ??= []).push(key);
  return keys;
}

/** @param {Row} row */
function nameOf({ category, key }) {
  return `${category}/${JSON.stringify(key)}`;
}
