/**
 * The parts of the application's pages that know of backups: a badge, an offline indicator, the
 * backup page with its dialog, and the list of voice notes.
 */

import * as client from './backup-client.js';
import { undoRestore } from '../../../portfolio/src/index.js';
import * as db from './db.js';

const byId = (id) => document.getElementById(id);

function showBadge(state, count = 0) {
  byId('badge').dataset.state = state;
  byId('badge').textContent = state === 'pending' ? count : '';
}

async function checkPendingCount() {
  try {
    const snapshots = await client.getUnsyncedSnapshots();
    const count = (await client.getUnsyncedCount()) + snapshots.length;
    showBadge(count > 0 ? 'pending' : 'synced', count);
  } catch {
    showBadge('synced'); // as the application does
  }
}

window.addEventListener('eoe:backup-status', ({ detail: { status } }) => {
  if (status === 'idle') checkPendingCount();
  else showBadge(status === 'success' ? 'synced' : status);
  if (status === 'success') setTimeout(checkPendingCount, 5000);
});

for (const type of ['online', 'offline']) {
  window.addEventListener(type, () => {
    byId('offline').hidden = navigator.onLine;
  });
}

function fill(list, items) {
  byId(list).replaceChildren(...items.map(({ id, text }) => {
    const item = document.createElement('li');
    item.dataset.id = id;
    item.textContent = text;
    return item;
  }));
}

async function showList() {
  fill('list', (await client.listBackups()).map(({ id, timestamp, size, counts }) => {
    const made = `${new Date(timestamp).toISOString()} ${Math.round(size / 1024)}KB`;
    const text = `${made} ${counts.atoms} atoms · ${counts.compositions} compositions · ` +
      `${counts.snapshots} snapshots`;
    return { id, text };
  }));
}

byId('back-up').addEventListener('click', async () => {
  const result = await client.createBackup();
  byId('result').textContent = result ? `Backup complete (${result.size})` : 'Backup failed.';
  await showList();
});

async function restore(id, categories) {
  const result = await client.restoreFromBackup(id, categories);
  byId('result').textContent = result
    ? `Restored: ${result.atomsRestored} atoms, ${result.compositionsRestored} compositions, ` +
      `${result.snapshotsRestored} snapshots`
    : 'Restore failed';
}

async function showNotes(slug) {
  const notes = (await db.getVoiceNotesForAtom(slug)).reverse();
  fill('notes', notes.map(({ id, transcript, audioBlob }) => (
    { id, text: `${transcript} ${URL.createObjectURL(audioBlob).slice(0, 5)}` })));
}

const started = new Promise((resolve) => {
  window.addEventListener('eoe:backup-status', ({ detail }) => detail.verified && resolve());
});
client.enableAutoBackup();
checkPendingCount();
showList();
window.app = { ...client, db, started, restore, showNotes, undoRestore };
