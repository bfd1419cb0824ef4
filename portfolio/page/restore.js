/**
 * The restore dialog: categories to tick, what would change, and who wins where both changed.
 */

import { CATEGORIES, previewRestore, restoreFromBackup } from '../src/index.js';
import { byId, element, formDialog } from './dom.js';
import { categoryName, clockOf, dayOf, plural } from './format.js';

/** @typedef {import('../src/index.js').Backup} Backup */
/** @typedef {import('../src/index.js').Category} Category */
/** @typedef {import('../src/index.js').PlannedRecord} PlannedRecord */
/** @typedef {import('../src/index.js').RestoreResult} RestoreResult */

/** Records of one kind that are named; the others are counted. */
const NAMED = 8;

const ticks = byId('restore-ticks', HTMLDivElement);
const preview = byId('restore-preview', HTMLDivElement);
const submit = byId('restore-submit', HTMLButtonElement);

/** @type {Backup} */
let backup;

/** What was decided about records that are newer here, by their names. */
/** @type {Map<string, 'keep' | 'replace'>} */
const choices = new Map();

/** The newest question; an answer to an older one is not shown. */
let asked = 0;

/** @type {(result: RestoreResult) => void} */
let done;

const dialog = formDialog('restore-dialog', async () => {
  const result = await restoreFromBackup(backup.id, ticked(), {
    conflicts: (record) => choices.get(nameOf(record)) ?? 'keep',
  });
  done(result);
});

/**
 * @param {Backup} chosen
 * @param {(result: RestoreResult) => void} onDone
 */
export function openRestore(chosen, onDone) {
  backup = chosen;
  done = onDone;
  choices.clear();
  const time = new Date(backup.timestamp);
  const title = `Restore from ${dayOf(time, new Date())}, ${clockOf(time)}`;
  byId('restore-title', HTMLHeadingElement).textContent = title;
  ticks.replaceChildren(...CATEGORIES.map(tick));
  dialog.open();
  void showPreview();
}

/** @param {Category} category */
function tick(category) {
  const count = backup.counts[category];
  const box = element('input', {
    type: 'checkbox',
    name: category,
    checked: count > 0,
    disabled: count === 0,
  });
  box.addEventListener('change', showPreview);
  return element(
    'label',
    { class: 'tick', 'data-category': category },
    box,
    element('span', { text: categoryName(category) }),
    element('span', { class: 'tick-count', text: String(count) }),
  );
}

/** @returns {Category[]} */
function ticked() {
  const boxes = ticks.querySelectorAll('input');
  return CATEGORIES.filter((_, index) => boxes[index].checked);
}

async function showPreview() {
  const question = (asked += 1);
  const categories = ticked();
  submit.disabled = true;
  if (!categories.length) {
    preview.replaceChildren(element('p', { text: 'Tick what to bring back.' }));
    return;
  }
  preview.setAttribute('aria-busy', 'true');
  try {
    const planned = await previewRestore(backup.id, categories);
    if (question !== asked) return;
    const same = planned.every(({ action }) => action === 'same');
    submit.disabled = same;
    preview.replaceChildren(...(same ? [nothingToDo()] : groups(planned)));
  } catch (error) {
    if (question !== asked) return;
    const reason = error instanceof Error ? error.message : String(error);
    preview.replaceChildren(element('p', { class: 'failure', text: reason }));
  } finally {
    if (question === asked) preview.setAttribute('aria-busy', 'false');
  }
}

function nothingToDo() {
  return element('p', { text: 'All of it is here already, as it is in the backup.' });
}

/** @param {PlannedRecord[]} planned */
function groups(planned) {
  const of = (/** @type {PlannedRecord['action']} */ action) =>
    planned.filter((record) => record.action === action);
  const same = of('same').length;
  return [
    group('add', 'Comes back', of('add')),
    group('replace', 'Goes back to how it was', of('replace')),
    group('conflict', 'Newer here', of('conflict')),
    same ? element('p', { class: 'detail', text: `${plural(same, 'record')} the same` }) : null,
  ].filter((made) => made !== null);
}

/**
 * @param {'add' | 'replace' | 'conflict'} action
 * @param {string} title
 * @param {PlannedRecord[]} records
 */
function group(action, title, records) {
  if (!records.length) return null;
  const named = action === 'conflict' ? records : records.slice(0, NAMED);
  const items = named.map((record) =>
    element(
      'li',
      {},
      element('span', { class: 'record', text: titleOf(record) }),
      action === 'conflict' ? choice(record) : '',
    ),
  );
  if (named.length < records.length) {
    const left = records.length - named.length;
    items.push(element('li', { class: 'detail', text: `and ${left.toLocaleString()} more` }));
  }
  return element(
    'section',
    { class: 'group', 'data-action': action },
    element('h3', { text: `${title}: ${records.length.toLocaleString()}` }),
    element('ul', {}, ...items),
  );
}

/** @param {PlannedRecord} record */
function choice(record) {
  const select = element(
    'select',
    { 'aria-label': `${titleOf(record)}, which is newer here` },
    element('option', { value: 'keep', text: 'Keep it' }),
    element('option', { value: 'replace', text: 'Replace it' }),
  );
  select.value = choices.get(nameOf(record)) ?? 'keep';
  select.addEventListener('change', () => {
    choices.set(nameOf(record), select.value === 'replace' ? 'replace' : 'keep');
  });
  return select;
}

/** @param {PlannedRecord} record */
function titleOf({ category, key, inBackup }) {
  const title = inBackup.title ?? inBackup.name;
  return typeof title === 'string' && title ? title : `${categoryName(category)}: ${key}`;
}

/** @param {PlannedRecord} record */
function nameOf({ category, key }) {
  return `${category}/${JSON.stringify(key)}`;
}
