/** The dialog that deletes backups: one, or all of a day or a selection but the newest. */

import { html, nothing, render } from 'lit-html';

import { deleteBackup, getBackupStatus } from '../src/index.js';
import { byId, formDialog, longList, setText } from './dom.js';
import { momentOf, plural, sizeOf } from './format.js';
import { bytesOf, type Entry, type Predecessors, seriesOf, thinned } from './series.js';

/** Lines of the preview that are shown at once. */
const FIRST = 20;

const shown = byId('delete-dialog', HTMLDialogElement);
const progress = byId('delete-progress', HTMLProgressElement);

let goes: Entry[] = [];
let stays = new Map<Entry, string>();

/** Whether deletions are running: the list is read again when they have ended. */
export let isDeleting = false;

/** Called with what was deleted, also on a failure. */
let done: (deleted: Set<string>) => void;

const dialog = formDialog(
  'delete-dialog',
  async () => {
    const deleted = new Set<string>();
    isDeleting = true;
    progress.hidden = goes.length === 1;
    progress.max = goes.length;
    try {
      for (const { id } of goes) {
        progress.value = deleted.size;
        // Closing the dialog stops it.
        if (!shown.open) break;
        await deleteBackup(id);
        deleted.add(id);
      }
    } finally {
      isDeleting = false;
      progress.hidden = true;
      goes = goes.filter(({ id }) => !deleted.has(id));
      drawPreview();
      done(deleted);
    }
  },
  // The line that had the focus is gone.
  () => byId('backups', HTMLElement).focus(),
);

export function confirmDeletion(entry: Entry, onDone: typeof done) {
  const isBase = getBackupStatus().baseId === entry.id;
  const again = 'It is the newest of this device, which will back up again at once.';
  const text =
    `${momentOf(entry.time)}, ${sizeOf(entry.size)}. It is deleted on the server, and nothing ` +
    `brings it back. What is on this device stays. ${isBase ? again : ''}`;
  stays = new Map();
  ask([entry], 'Delete this backup?', text, 'Delete for good', onDone);
}

export function confirmThinning(entries: Entry[], before: Predecessors, onDone: typeof done) {
  const result = thinned(entries, before);
  const number = result.goes.length;
  const each = new Set(entries.map(seriesOf)).size > 1 ? ' of each device' : '';
  const text = number
    ? `${sizeOf(bytesOf(result.goes))} will be deleted on the server. Nothing brings it back.`
    : 'Each of these is kept.';
  stays = result.stays;
  const button = `Delete ${number} of these ${entries.length}, keep the newest${each}`;
  ask(result.goes, `Thin out ${plural(entries.length, 'backup')}`, text, button, onDone);
}

function ask(
  entries: Entry[], title: string, text: string, button: string, onDone: typeof done,
) {
  [goes, done] = [entries, onDone];
  setText('delete-title', title);
  setText('delete-text', text);
  dialog.button.textContent = button;
  progress.hidden = true;
  drawPreview();
  dialog.open();
  dialog.button.disabled = entries.length === 0;
}

function drawPreview() {
  const list = (title: string, those: Entry[]) =>
    html`<h3>${title}</h3>${longList(title, those, item, FIRST, drawPreview)}`;
  const isThinning = stays.size > 0;
  render(
    html`${isThinning && goes.length ? list('These go', goes) : nothing}
      ${isThinning ? list('These stay', [...stays.keys()]) : nothing}`,
    byId('delete-preview', HTMLElement),
  );
}

function item(entry: Entry) {
  const about = [entry.device, sizeOf(entry.size), stays.get(entry)].filter(Boolean).join(' · ');
  return html`<li><span>${momentOf(entry.time)}</span><small>${about}</small></li>`;
}
