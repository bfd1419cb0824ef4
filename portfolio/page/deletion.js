/**
 * The dialog that deletes backups: one, or all of a day or a selection but the newest.
 */

import { deleteBackup } from '../src/index.js';
import { byId, element, formDialog, longList, setText } from './dom.js';
import { momentOf, plural, sizeOf } from './format.js';
import { devicesOf, seriesOf, thinned } from './series.js';
import { isOwnNewest } from './server.js';
import { shownList } from './timeline.js';

/** @typedef {import('./series.js').Entry} Entry */

/** Lines of the preview that are shown at once. */
const FIRST = 20;

const shown = byId('delete-dialog', HTMLDialogElement);
const preview = byId('delete-preview', HTMLDivElement);
const progress = byId('delete-progress', HTMLProgressElement);

/** @type {Entry[]} */
let goes = [];

/** Whether deletions are running: the list is read again when they have ended. */
export let isDeleting = false;

/** @type {(deleted: Set<string>) => void} */
let done;

const dialog = formDialog(
  'delete-dialog',
  async () => {
    const deleted = new Set();
    isDeleting = true;
    progress.hidden = goes.length === 1;
    progress.max = goes.length;
    progress.value = 0;
    try {
      for (const { id } of goes) {
        if (!shown.open) break;
        await deleteBackup(id);
        deleted.add(id);
        progress.value = deleted.size;
        setText('delete-text', `${deleted.size} of ${goes.length} are deleted.`);
      }
    } finally {
      isDeleting = false;
      progress.hidden = true;
      goes = goes.filter(({ id }) => !deleted.has(id));
      done(deleted);
    }
  },
  // The line that had the focus is gone.
  () => byId('backups', HTMLElement).focus(),
);

/** @param {(deleted: Set<string>) => void} onDone called with what was deleted, also on a failure */
export function startDeletion(onDone) {
  done = onDone;
}

/** @param {Entry} entry */
export function confirmDeletion(entry) {
  const again = isOwnNewest(entry)
    ? ' It is the newest of this device, which will back up again at once.'
    : '';
  const text =
    `${momentOf(entry.time)}, ${sizeOf(entry.size)}. It is deleted on the server, and nothing ` +
    `brings it back. What is on this device stays.${again}`;
  ask([entry], 'Delete this backup?', text, 'Delete for good');
}

/** @param {Entry[]} entries newest first */
export function confirmThinning(entries) {
  const { before } = shownList();
  const result = thinned(entries, before);
  const { stays } = result;
  const freed = result.goes.reduce((bytes, { size }) => bytes + size, 0);
  const newest = new Set(entries.map(seriesOf)).size > 1 ? 'the newest of each device' : 'the newest';
  const button = `Delete ${result.goes.length} of these ${entries.length}, keep ${newest}`;
  const text = result.goes.length
    ? `${plural(result.goes.length, 'backup')}, ${sizeOf(freed)}, are deleted on the server, and nothing brings them back:`
    : 'Each of these is kept.';
  ask(result.goes, `Thin out ${plural(entries.length, 'backup')}`, text, button);
  if (result.goes.length) preview.append(...longList(result.goes, (entry) => item(entry), FIRST));
  preview.append(element('h3', { text: 'These stay' }));
  preview.append(...longList([...stays], ([entry, reason]) => item(entry, reason), FIRST));
}

/**
 * @param {Entry[]} entries
 * @param {string} title
 * @param {string} text
 * @param {string} button
 */
function ask(entries, title, text, button) {
  goes = entries;
  setText('delete-title', title);
  setText('delete-text', text);
  dialog.button.textContent = button;
  preview.replaceChildren();
  progress.hidden = true;
  dialog.open();
  dialog.button.disabled = entries.length === 0;
}

/**
 * @param {Entry} entry
 * @param {string} [reason] why it stays
 */
function item(entry, reason) {
  const device = devicesOf([entry]).get(seriesOf(entry))?.name ?? '';
  const about = [entry.device && device, sizeOf(entry.size), reason].filter(Boolean).join(' · ');
  return element('li', {}, element('span', { text: momentOf(entry.time) }), element('small', { text: about }));
}
