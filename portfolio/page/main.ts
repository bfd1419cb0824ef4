/** The Backups page: how things stand on this device, and the backups on the server. */

import { html, nothing, render } from 'lit-html';

import '../src/sync-status.js';
import {
  BACKUPS_EVENT, configure, createBackup, dismissUndo, enableAutoBackup, getBackupStatus,
  getDeviceId, getUndo, listBackupPage, type RestoreResult, STATUS_EVENT, undoRestore,
} from '../src/index.js';
import { showAtoms, startAtoms } from './atoms.js';
import { confirmDeletion, confirmThinning, isDeleting } from './deletion.js';
import { byId, messageOf, smallButton } from './dom.js';
import { ago, plural } from './format.js';
import { openInside } from './inside.js';
import { showLast, showNoList, showOffer, showState } from './lead.js';
import { type Entry, entryOf } from './series.js';
import { alone, getDB, isThere } from './store.js';
import { choose, goTo, showTimeline, startTimeline } from './timeline.js';
import { showYear } from './year.js';

const ASKS_TOKEN = [
  'The server asks for its token',
  'Give it to your browser when that asks: the token is the password, and any name will do. ' +
    'Without it nothing is listed, and nothing is backed up.',
  'Ask me again',
];

/** Backups that are asked for at once. */
const PAGE = 500;

const backUp = byId('back-up', HTMLButtonElement);
const fileInput = byId('file', HTMLInputElement);
const notice = byId('notice', HTMLDivElement);
const problem = byId('problem', HTMLDivElement);

/** All that is known of the list. */
let entries: Entry[] = [];
let complete = false;
let unreadable: string[] = [];

let ownId: string | undefined;

/** The newest reading of the list: an older one stops. */
let reading = 0;

/** The time of the last backup that the list was asked for. */
let shownBackup = '';

/** Reads the list: its newest page, and the others unless they are known. */
async function readList() {
  const question = (reading += 1);
  const [known, isRefresh] = [entries, complete];
  if (!isRefresh) showNoList('Asking the server…');
  try {
    let read: Entry[] = [];
    let next: string | null = null;
    let bad: string[] = [];
    do {
      const page = await listBackupPage({ limit: PAGE, before: next ?? undefined });
      if (question !== reading) return;
      read = read.concat(page.backups.map(entryOf));
      bad = bad.concat(page.unreadable);
      next = page.next;
      if (isRefresh && next) {
        const oldest = read[read.length - 1].id;
        read = read.concat(known.filter(({ id }) => id < oldest));
        next = null;
      }
      if (next === null || !entries.length) show(read, next === null, bad);
      else showLast(read, false, bad);
    } while (next !== null);
  } catch (error) {
    if (question === reading) showProblem(error);
  }
}

function show(read: Entry[], all: boolean, bad = unreadable) {
  [entries, complete, unreadable] = [read, all, bad];
  problem.hidden = true;
  showLast(entries, complete, unreadable);
  showYear(entries, complete, goTo);
  showTimeline(entries, complete);
  showOffer(entries, ownId, restored);
}

function removed(ids: Set<string>) {
  choose(null);
  show(entries.filter(({ id }) => !ids.has(id)), complete);
}

function showProblem(error: unknown) {
  const needsToken = (error as { status?: number }).status === 401;
  const [title, reason, button] = needsToken ? ASKS_TOKEN : [
    'The backups can’t be listed', messageOf(error), 'Try again',
  ];
  showNoList(needsToken ? 'The server did not let this page in' : 'The server did not answer');
  complete = false;
  render(html`<h2>${title}</h2><p>${reason}</p>${smallButton(button, readList)}`, problem);
  problem.hidden = false;
}

function open(chosen: Entry | File) {
  void openInside(chosen, restored);
}

function restored({ added, replaced, kept }: RestoreResult) {
  const parts = [
    added.length && `${plural(added.length, 'record')} came back`,
    replaced.length && `${plural(replaced.length, 'record')} replaced`,
    kept.length && `${plural(kept.length, 'newer record')} kept`,
  ];
  const undoable = added.length + replaced.length > 0;
  showNotice(`Restored: ${parts.filter(Boolean).join(', ') || 'all of it was here'}.`, undoable);
  if (alone) void showAtoms();
}

function download({ id }: Entry) {
  const link = { href: `/api/backup/${id}`, download: `backup-${id}.json` };
  Object.assign(document.createElement('a'), link).click();
}

function showNotice(text: string, undoable: boolean) {
  const dismiss = () => {
    notice.hidden = true;
    byId('backups', HTMLElement).focus();
    if (undoable) void dismissUndo();
  };
  notice.hidden = false;
  const undo = undoable ? smallButton('Undo the restore', undoLast) : nothing;
  render(html`<p>${text}</p>${undo}${smallButton('Dismiss', dismiss)}`, notice);
}

async function undoLast() {
  try {
    const { undone, kept } = await undoRestore();
    const edited = kept.length ? ` ${plural(kept.length, 'record')} edited since then stay.` : '';
    showNotice(`Undone: ${plural(undone.length, 'record')} as before the restore.${edited}`, false);
    if (alone) await showAtoms();
  } catch (error) {
    showNotice(messageOf(error), true);
  }
}

async function offerUndo() {
  const undo = await getUndo();
  if (!undo || undo.dismissed) return;
  showNotice(`Restored ${ago(new Date(undo.restoredAt), new Date())}.`, true);
}

async function showStatus() {
  const { status, lastBackupTime } = getBackupStatus();
  const busy = status === 'backing-up';
  // Not `disabled`, which would take the focus away from it.
  backUp.setAttribute('aria-disabled', String(busy));
  await showState();
  if (complete) showOffer(entries, ownId, restored);
  if (busy || isDeleting || !lastBackupTime || lastBackupTime === shownBackup) return;
  shownBackup = lastBackupTime;
  void readList();
}

for (const type of [STATUS_EVENT, 'online', 'offline']) window.addEventListener(type, showStatus);
window.addEventListener(BACKUPS_EVENT, () => {
  if (!isDeleting) void readList();
});
document.addEventListener('visibilitychange', async () => {
  if (document.visibilityState !== 'visible') return;
  // The application may have made its database.
  if (byId('back-up', HTMLElement).hidden && (await isThere())) location.reload();
  else if (complete) showLast(entries, complete, unreadable);
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

configure(alone ? { baseUrl: '', getDB } : { baseUrl: '' });
startTimeline({
  open,
  download,
  remove: (entry) => confirmDeletion(entry, removed),
  thin: (entries, before) => confirmThinning(entries, before, removed),
});
if (alone) startAtoms();
byId('to-site', HTMLElement).hidden = alone;
void showState();
void readList();
void offerUndo();
void enableAutoBackup();
getDeviceId().then((id) => {
  ownId = id;
  if (complete) showOffer(entries, ownId, restored);
}, () => {});
