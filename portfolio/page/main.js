/**
 * The page of the portfolio's own container: what is on this device, and its backups.
 */

import '../src/sync-status.js';
import {
  configure,
  createBackup,
  deleteBackup,
  enableAutoBackup,
  getBackupStatus,
  getUndo,
  listBackups,
  STATUS_EVENT,
  undoRestore,
} from '../src/index.js';
import { showAtoms, startAtoms } from './atoms.js';
import { byId, element, formDialog } from './dom.js';
import { clockOf, dayOf, plural, sizeOf } from './format.js';
import { openRestore } from './restore.js';
import { getDB } from './store.js';
import { showTimeline, showTimelineError } from './timeline.js';

/** @typedef {import('../src/index.js').Backup} Backup */

configure({ baseUrl: '', getDB });

const backUp = byId('back-up', HTMLButtonElement);
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
    showTimeline(await listBackups(), { restore, remove });
  } catch (error) {
    showTimelineError(error instanceof Error ? error.message : String(error), showBackups);
  }
}

/** @param {Backup} backup */
function restore(backup) {
  openRestore(backup, ({ added, replaced, kept }) => {
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

/** @param {Backup} backup */
function remove(backup) {
  toDelete = backup;
  const time = new Date(backup.timestamp);
  const text =
    `${dayOf(time, new Date())}, ${clockOf(time)}, ${sizeOf(backup.size)}. ` +
    'It is deleted on the server, and nothing brings it back. What is on this device stays.';
  byId('delete-text', HTMLParagraphElement).textContent = text;
  deletion.open();
}

/**
 * @param {string} text
 * @param {boolean} undoable
 */
function showNotice(text, undoable) {
  const undo = element('button', {
    type: 'button',
    class: 'quiet small',
    text: 'Undo the restore',
    onclick: undoLast,
  });
  const dismiss = element('button', {
    type: 'button',
    class: 'quiet small',
    text: 'Dismiss',
    onclick: () => {
      notice.hidden = true;
      byId('backups', HTMLElement).focus();
    },
  });
  notice.hidden = false;
  notice.replaceChildren(element('p', { text }), ...(undoable ? [undo] : []), dismiss);
}

async function undoLast() {
  try {
    const { undone, kept } = await undoRestore();
    const edited = kept.length ? ` ${plural(kept.length, 'record')} edited since then stay.` : '';
    showNotice(`Undone: ${plural(undone.length, 'record')} as before the restore.${edited}`, false);
    await showAtoms();
  } catch (error) {
    showNotice(error instanceof Error ? error.message : String(error), true);
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

void enableAutoBackup();
startAtoms();
void showBackups();
void offerUndo();
