/**
 * The parts of the application's pages that know of backups: a badge, an offline indicator, the
 * backup page with its dialog, and the list of voice notes.
 */

import {
  createBackup,
  disableAutoBackup,
  enableAutoBackup,
  getBackupStatus,
  getUnsyncedCount,
  getUnsyncedSnapshots,
  listBackups,
  restoreFromBackup,
} from './backup-client.js';
import { undoRestore } from '../../../portfolio/src/index.js';
import * as db from './db.js';

const byId = (id) => document.getElementById(id);

function showBadge(state, count = 0) {
  byId('badge').dataset.state = state;
  byId('badge').textContent = state === 'pending' ? count : '';
}

async function checkPendingCount() {
  try {
    const count = (await getUnsyncedCount()) + (await getUnsyncedSnapshots()).length;
    showBadge(count > 0 ? 'pending' : 'synced', count);
  } catch {
    showBadge('synced'); // as the application does
  }
}

window.addEventListener('eoe:backup-status', ({ detail: { status } }) => {
  if (status === 'idle') checkPendingCount();
  if (status === 'backing-up') showBadge('backing-up');
  if (status === 'error') showBadge('error');
  if (status === 'success') {
    showBadge('synced');
    setTimeout(checkPendingCount, 5000);
  }
});

for (const type of ['online', 'offline']) {
  window.addEventListener(type, () => {
    byId('offline').hidden = navigator.onLine;
  });
}

async function showList() {
  const backups = await listBackups();
  const items = backups.map(({ id, timestamp, size, counts }) => {
    const item = document.createElement('li');
    item.dataset.id = id;
    item.textContent =
      `${new Date(timestamp).toISOString()} ${Math.round(size / 1024)}KB ${counts.atoms} atoms · ` +
      `${counts.compositions} compositions · ${counts.snapshots} snapshots`;
    return item;
  });
  byId('list').replaceChildren(...items);
}

byId('back-up').addEventListener('click', async () => {
  const result = await createBackup();
  byId('result').textContent = result ? `Backup complete (${result.size})` : 'Backup failed.';
  await showList();
});

async function restore(id, categories) {
  const result = await restoreFromBackup(id, categories);
  byId('result').textContent = result
    ? `Restored: ${result.atomsRestored} atoms, ${result.compositionsRestored} compositions, ` +
      `${result.snapshotsRestored} snapshots`
    : 'Restore failed';
}

async function showNotes(slug) {
  const notes = await db.getVoiceNotesForAtom(slug);
  byId('notes').replaceChildren();
  for (const note of notes.reverse()) {
    const item = document.createElement('li');
    const address = URL.createObjectURL(note.audioBlob);
    item.textContent = `${note.transcript} ${address.slice(0, 5)}`;
    byId('notes').append(item);
  }
}

enableAutoBackup();
checkPendingCount();
showList();
window.app = { db, restore, showNotes, showList, getBackupStatus, disableAutoBackup, undoRestore };
Object.assign(window.app, { createBackup, listBackups });
