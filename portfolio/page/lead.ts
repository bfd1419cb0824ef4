/**
 * What matters first, in words: whether everything here is backed up, when the last backup was,
 * what all of them take; and, on a device that has less than another one, bringing everything back.
 */

import { html, render } from 'lit-html';

import {
  getBackupStatus, previewRestore, restoreFromBackup, type RestoreResult,
} from '../src/index.js';
import { byId, messageOf, setText, smallButton } from './dom.js';
import { ago, capital, clockOf, dayOf, daysBetween, plural, sizeOf } from './format.js';
import { devicesOf, type Entry, growth, recordsIn, seriesOf } from './series.js';
import { alone, isThere } from './store.js';

/** A last backup of so many days ago is a warning (docs/backups-page.md says the number). */
export const WARN_DAYS = 3;

const DECLINED = 'backups-page:declined';

/** By the state of `<sync-status>`. */
const HEADLINES: Record<string, string> = {
  checking: 'Looking through this device…',
  'backing-up': 'Backing up…',
  'backed-up': 'Everything on this device is backed up',
  unverified: 'Backed up, but the server isn’t reached',
  empty: 'Nothing is stored on this device',
  emptied: 'Nothing is stored on this device',
  offline: 'This device is offline',
  error: 'The last backup failed',
};

const place = byId('offer', HTMLDivElement);
const last = byId('last', HTMLParagraphElement);

/** The backup that is offered, by its id. */
let offered = '';

/** Says how things stand on this device. */
export async function showState() {
  const state = document.querySelector('sync-status')?.getAttribute('data-state') ?? 'checking';
  const { lastError, note } = getBackupStatus();
  const hasDatabase = alone || (await isThere());
  byId('open-site', HTMLElement).hidden = hasDatabase;
  byId('back-up', HTMLElement).hidden = !hasDatabase;
  byId('lead', HTMLElement).dataset.state = hasDatabase ? state : 'empty';
  setText('headline', hasDatabase ? headlineOf(state) : 'Open the application once');
  setText('reason', hasDatabase ? (lastError ?? note ?? '') : '');
}

function headlineOf(state: string) {
  const { unsyncedCount, reached } = getBackupStatus();
  const isWaiting = ['unsynced', 'offline', 'error'].includes(state);
  if (isWaiting && unsyncedCount === 1) return '1 change waits';
  if (isWaiting && unsyncedCount) return `${plural(unsyncedCount, 'change')} wait`;
  if (state === 'unverified' && reached === null) return 'Asking the server…';
  return HEADLINES[state];
}

export function showLast(entries: Entry[], complete: boolean, unreadable: string[]) {
  const now = new Date();
  const [newest] = entries;
  const named = entries.find((it) => it.device && seriesOf(it) === seriesOf(newest));
  const device = named ? `, from ${named.device}` : '';
  setText('last', newest ? `Last backup ${ago(newest.time, now)}${device}` : 'No backups yet');
  last.classList.toggle('warning', Boolean(newest) && daysBetween(newest.time, now) >= WARN_DAYS);
  setText('storage', [storageOf(entries, complete, now), ...unreadable].join('. '));
}

function storageOf(entries: Entry[], complete: boolean, now: Date) {
  if (!complete) return `Reading the list: ${plural(entries.length, 'backup')} so far…`;
  if (!entries.length) return 'The first one is made when you leave this page, or right now';
  const { bytes, perDay } = growth(entries, now);
  const all = `${plural(entries.length, 'backup')} on the server: ${sizeOf(bytes)}`;
  return perDay === bytes ? all : `${all}, and ${sizeOf(perDay)} more each day`;
}

/** Before there is an answer, and where there is none. */
export function showNoList(words: string) {
  setText('last', words);
  last.classList.remove('warning');
  setText('storage', '');
  offered = '';
  place.hidden = true;
}

type Done = (result: RestoreResult) => void;

/** Offers the newest backup of another device, if that has more records than this one. */
export function showOffer(entries: Entry[], ownId: string | undefined, done: Done) {
  const { storedCount, baseId } = getBackupStatus();
  if (storedCount === null) return;
  const devices = devicesOf(entries);
  const found = [...devices].find(([series, { newest }]) => {
    const wasOwn = series === null && devices.has(ownId ?? '');
    const isOwn = series === ownId || newest.id === baseId || wasOwn;
    if (isOwn && storedCount > 0) return false;
    return recordsIn(newest) > storedCount && !declined().includes(String(series));
  });
  if (!found) {
    offered = '';
    place.hidden = true;
  } else if (offered !== found[1].newest.id) {
    offer(found[1].newest, found[1].name, storedCount, String(found[0]), done);
  }
}

function offer(entry: Entry, name: string, storedCount: number, series: string, done: Done) {
  offered = entry.id;
  const now = new Date();
  const records = plural(recordsIn(entry), 'record');
  const day = dayOf(entry.time, now);
  const inSentence = daysBetween(entry.time, now) < 2 ? day.toLowerCase() : day;
  const from = `${inSentence} ${clockOf(entry.time)}${entry.device ? ` (${name})` : ''}`;
  const bring = async ({ currentTarget }: { currentTarget: HTMLElement }) => {
    currentTarget.ariaBusy = 'true';
    try {
      done(await restoreFromBackup(entry.id));
      offered = '';
      place.hidden = true;
    } catch (error) {
      draw(messageOf(error));
    }
    currentTarget.ariaBusy = 'false';
  };
  const decline = () => {
    localStorage.setItem(DECLINED, JSON.stringify([...declined(), series]));
    place.hidden = true;
  };
  const draw = (numbers: string) => render(html`
    <h2>${capital(name)} has ${records}, this device has ${storedCount || 'none'}.</h2>
    <button type="button" @click=${bring}>Bring everything back from ${from}</button>
    <p role="status">${numbers}</p>
    ${smallButton('Not on this device', decline)}`, place);
  draw('Counting what would come back…');
  place.hidden = false;
  numbersOf(entry).catch(messageOf).then(draw);
}

/** What the preview of a restore counts, in words. */
async function numbersOf(entry: Entry) {
  const planned = Map.groupBy(await previewRestore(entry.id), ({ action }) => action);
  const [add, replace, conflict] = (['add', 'replace', 'conflict'] as const).map(
    (action) => planned.get(action)?.length ?? 0,
  );
  const parts = [
    `${plural(add, 'record')} will come back`,
    replace && `${replace} will be as in the backup`,
    conflict && `${conflict} newer here stay`,
  ];
  return `${parts.filter(Boolean).join(', ')}. It can be undone.`;
}

/** The series that were declined. */
function declined(): string[] {
  return JSON.parse(localStorage.getItem(DECLINED) ?? '[]');
}
