/**
 * The page of the portfolio's own container: what is on this device, and its backups.
 */

import '../src/sync-status.js';
import {
  configure,
  createBackup,
  deleteBackup,
  downloadBackup,
  enableAutoBackup,
  getBackupStatus,
  getUndo,
  listBackups,
  STATUS_EVENT,
  undoRestore,
} from '../src/index.js';
import { showAtoms, startAtoms } from './atoms.js';
import { byId, element, formDialog, messageOf, smallButton } from './dom.js';
import { clockOf, dayOf, momentOf, plural, sizeOf } from './format.js';
import { openInside } from './inside.js';
import { getDB } from './store.js';
import { showTimeline, showTimelineError } from './timeline.js';

/** @typedef {import('../src/index.js').Backup} Backup */

configure({ baseUrl: '', getDB });

const backUp = byId('back-up', HTMLButtonElement);
const fileInput = byId('file', HTMLInputElement);
const notice = byId('notice', HTMLDivElement);

/** @type {Backup} */
let toDelete;

/** The time of the last backup that the timeline was asked for. */
let shownBackup = '';

const deletion = formDialog(
  'delete-dialog',
  async () => {
    await deleteBackup(toDelete.id);
    await showBackups();
  },
  // The button that had the focus is gone.
  () => byId('backups', HTMLElement).focus(),
);

async function showBackups() {
  try {
    showTimeline(await listBackups(), { open, download, remove });
  } catch (error) {
    showTimelineError(messageOf(error), showBackups);
  }
}

/** @param {Backup | File} chosen */
function open(chosen) {
  void openInside(chosen, ({ added, replaced, kept }) => {
    const parts = [
      added.length && `${plural(added.length, 'record')} came back`,
      replaced.length && `${plural(replaced.length, 'record')} replaced`,
      kept.length && `${plural(kept.length, 'newer record')} kept`,
    ];
    const undoable = added.length + replaced.length > 0;
    showNotice(`Restored: ${parts.filter(Boolean).join(', ')}.`, undoable);
    void showAtoms();
  });
}

/**
 * Fetched, since a plain link can't carry the token.
 *
 * @param {Backup} backup
 */
async function download(backup) {
  try {
    const file = await downloadBackup(backup.id);
    const href = URL.createObjectURL(file);
    element('a', { href, download: file.name }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
  } catch (error) {
    showNotice(`Not downloaded: ${messageOf(error)}`, false);
  }
}

/** @param {Backup} backup */
function remove(backup) {
  toDelete = backup;
  const text =
    `${momentOf(backup.timestamp)}, ${sizeOf(backup.size)}. ` +
    'It is deleted on the server, and nothing brings it back. What is on this device stays.';
  byId('delete-text', HTMLParagraphElement).textContent = text;
  deletion.open();
}

/**
 * @param {string} text
 * @param {boolean} undoable
 */
function showNotice(text, undoable) {
  const dismiss = () => {
    notice.hidden = true;
    byId('backups', HTMLElement).focus();
  };
  notice.hidden = false;
  notice.replaceChildren(
    element('p', { text }),
    ...(undoable ? [smallButton('Undo the restore', undoLast)] : []),
    smallButton('Dismiss', dismiss),
  );
}

async function undoLast() {
  try {
    const { undone, kept } = await undoRestore();
    const edited = kept.length ? ` ${plural(kept.length, 'record')} edited since then stay.` : '';
    showNotice(`Undone: ${plural(undone.length, 'record')} as before the restore.${edited}`, false);
    await showAtoms();
  } catch (error) {
    showNotice(messageOf(error), true);
  }
}

async function offerUndo() {
  const undo = await getUndo();
  if (!undo) return;
  const time = new Date(undo.restoredAt);
  showNotice(`Restored ${dayOf(time, new Date()).toLowerCase()} at ${clockOf(time)}.`, true);
}

window.addEventListener(STATUS_EVENT, () => {
  const { status, lastBackupTime } = getBackupStatus();
  const busy = status === 'backing-up';
  // Not `disabled`, which would take the focus away from it.
  backUp.setAttribute('aria-disabled', String(busy));
  if (!busy && lastBackupTime && lastBackupTime !== shownBackup) {
    shownBackup = lastBackupTime;
    void showBackups();
  }
});

backUp.addEventListener('click', () => {
  // Failures are shown by <sync-status>.
  createBackup().catch(() => {});
});

byId('open-file', HTMLButtonElement).addEventListener('click', () => fileInput.click());
fileInput.addEventListener('change', () => {
  const [file] = fileInput.files ?? [];
  if (file) open(file);
  // The same file, chosen again, is a change again.
  fileInput.value = '';
});

void enableAutoBackup();
startAtoms();
void showBackups();
void offerUndo();
