/**
 * The dialog that shows what is inside a backup: its records by category, searched, ticked, and
 * brought back.
 */

import { CATEGORIES, previewRestore, readBackup, restoreFromBackup } from '../src/index.js';
import { byId, element, formDialog, longList } from './dom.js';
import { categoryName, momentOf, plural, sizeOf } from './format.js';
import { search } from './search.js';

/** @typedef {import('../src/index.js').Backup} Backup */
/** @typedef {import('../src/index.js').BackupDocument} BackupDocument */
/** @typedef {import('../src/index.js').Category} Category */
/** @typedef {import('../src/index.js').PlannedRecord} Row */
/** @typedef {import('../src/index.js').RestoreResult} RestoreResult */

/** Rows of a category that are shown at once. */
const FIRST = 8;

/** Letters of a title or a device's name that are shown. */
const LONGEST = 200;

/** What is decided first comes first. */
const ORDER = ['conflict', 'replace', 'add', 'same'];

const HERE = { conflict: 'newer here', replace: 'differs here', add: 'not here', same: 'same here' };

const shown = byId('inside-dialog', HTMLDialogElement);
const list = byId('inside-list', HTMLDivElement);
const tools = byId('inside-tools', HTMLDivElement);
const query = byId('inside-search', HTMLInputElement);
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
all.addEventListener('change', () => tick(found.filter(isMissed), all.checked));

/**
 * @param {Backup | File} chosen
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
    rows = planned.sort((a, b) => ORDER.indexOf(a.action) - ORDER.indexOf(b.action));
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

/** @param {Backup | File} chosen */
function begin(chosen) {
  forget();
  query.value = '';
  tools.hidden = true;
  list.setAttribute('aria-busy', 'true');
  const isFile = chosen instanceof File;
  setText('inside-title', isFile ? chosen.name : `Backup of ${momentOf(chosen.timestamp)}`);
  setText('inside-about', 'Reading it…');
  setText('inside-summary', '');
  dialog.open();
  dialog.button.disabled = true;
  dialog.button.textContent = 'Restore';
}

/**
 * @param {BackupDocument} document
 * @param {Backup | File} chosen
 */
function describe({ timestamp, data }, chosen) {
  const parts = [
    typeof data.device === 'string' && data.device && `from ${shortened(data.device)}`,
    chosen instanceof File && `backup of ${momentOf(timestamp)}`,
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
  found = matching;
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
  const count = element('small', { text: members.length.toLocaleString() });
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
  return element('li', {}, element('label', {}, box, title, ' ', state));
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
function titleOf({ key, inBackup }) {
  const title = inBackup.title ?? inBackup.name;
  return shortened(typeof title === 'string' && title ? title : String(key));
}

/**
 * What is in a backup is anybody's text, and may be as long as the backup.
 *
 * @param {string} text
 */
function shortened(text) {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

/** @param {Row} row */
function nameOf({ category, key }) {
  return `${category}/${JSON.stringify(key)}`;
}

/**
 * @param {string} id
 * @param {string} text
 */
function setText(id, text) {
  byId(id, HTMLElement).textContent = text;
}
