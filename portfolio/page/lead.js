/**
 * What matters first, in words: whether everything here is backed up, when the last backup was, what
 * all of them take; and, on a device that has less than another one, bringing everything back.
 */

import { getBackupStatus, previewRestore, restoreFromBackup } from '../src/index.js';
import { byId, element, messageOf, setText, smallButton } from './dom.js';
import { ago, capital, clockOf, dayOf, daysBetween, plural, sizeOf } from './format.js';
import { devicesOf, growth, recordsIn } from './series.js';
import { alone, isThere } from './store.js';

/** @typedef {import('./series.js').Entry} Entry */
/** @typedef {import('../src/index.js').RestoreResult} RestoreResult */

/** A last backup of so many days ago is a warning (portfolio/README.md, "The page"). */
export const WARN_DAYS = 3;

const DECLINED = 'backups-page:declined';

const place = byId('offer', HTMLDivElement);
const last = byId('last', HTMLParagraphElement);

/** The backup that is offered, by its id. */
let offered = '';

/** @type {(result: RestoreResult) => void} */
let restored;

/** @param {(result: RestoreResult) => void} onRestored */
export function startLead(onRestored) {
  restored = onRestored;
}

/** Says how things stand on this device. */
export async function showState() {
  const state = document.querySelector('sync-status')?.getAttribute('data-state') ?? 'checking';
  const hasDatabase = alone || (await isThere());
  byId('open-site', HTMLElement).hidden = hasDatabase;
  byId('back-up', HTMLElement).hidden = !hasDatabase;
  byId('lead', HTMLElement).dataset.state = hasDatabase ? state : 'empty';
  setText('headline', hasDatabase ? headlineOf(state) : 'Open the application once');
  setText('reason', hasDatabase ? (getBackupStatus().lastError ?? '') : '');
}

/** @param {string} state of <sync-status> */
function headlineOf(state) {
  const { unsyncedCount } = getBackupStatus();
  const waiting = `${plural(unsyncedCount ?? 0, 'change')} ${unsyncedCount === 1 ? 'waits' : 'wait'}`;
  switch (state) {
    case 'checking':
      return 'Looking through this device…';
    case 'backing-up':
      return 'Backing up…';
    case 'backed-up':
      return 'Everything on this device is backed up';
    case 'unverified':
      return 'Backed up, but the server isn’t reached';
    case 'empty':
    case 'emptied':
      return 'Nothing is stored on this device';
    default:
      if (unsyncedCount) return waiting;
      return state === 'offline' ? 'This device is offline' : 'The last backup failed';
  }
}

/**
 * @param {Entry[]} entries newest first
 * @param {boolean} complete
 * @param {string[]} unreadable
 */
export function showLast(entries, complete, unreadable) {
  const now = new Date();
  const [newest] = entries;
  const device = newest?.device ? `, from ${newest.device}` : '';
  setText('last', newest ? `Last backup ${ago(newest.time, now)}${device}` : 'No backups yet');
  last.classList.toggle('warning', Boolean(newest) && daysBetween(newest.time, now) >= WARN_DAYS);
  setText('storage', [storageOf(entries, complete, now), ...unreadable].join('. '));
}

/**
 * @param {Entry[]} entries
 * @param {boolean} complete
 * @param {Date} now
 */
function storageOf(entries, complete, now) {
  if (!complete) return `Reading the list: ${plural(entries.length, 'backup')} so far…`;
  if (!entries.length) return 'The first one is made when you leave this page, or right now';
  const { bytes, perDay } = growth(entries, now);
  const takes = entries.length === 1 ? 'takes' : 'take';
  return `${plural(entries.length, 'backup')} ${takes} ${sizeOf(bytes)}, with ${sizeOf(perDay)} more each day`;
}

/** Before there is an answer, and where there is none. @param {string} words */
export function showNoList(words) {
  setText('last', words);
  last.classList.remove('warning');
  setText('storage', '');
  offered = '';
  place.hidden = true;
}

/**
 * Offers the newest backup of another device that has more records than this one.
 *
 * @param {Entry[]} entries newest first
 * @param {string | undefined} ownId
 * @param {(entry: Entry) => boolean} isOwn whether it is this device's newest
 */
export function showOffer(entries, ownId, isOwn) {
  const { storedCount } = getBackupStatus();
  if (storedCount === null) return;
  const devices = devicesOf(entries);
  const found = [...devices].find(([series, { newest }]) => {
    const own = series === ownId || isOwn(newest) || (series === null && devices.has(ownId ?? ''));
    if (own && storedCount > 0) return false;
    return recordsIn(newest) > storedCount && !declined().includes(String(series));
  });
  if (!found) {
    offered = '';
    place.hidden = true;
  } else if (offered !== found[1].newest.id) {
    offer(found[1].newest, found[1].name, storedCount, String(found[0]));
  }
}

/**
 * @param {Entry} entry
 * @param {string} device
 * @param {number} storedCount
 * @param {string} series
 */
function offer(entry, device, storedCount, series) {
  offered = entry.id;
  const day = dayOf(entry.time, new Date());
  const moment = `${daysBetween(entry.time, new Date()) < 2 ? day.toLowerCase() : day} ${clockOf(entry.time)}`;
  const from = entry.device ? ` (${device})` : '';
  const numbers = element('p', { role: 'status', text: 'Counting what would come back…' });
  const button = element('button', { type: 'button', text: `Bring everything back from ${moment}${from}` });
  button.addEventListener('click', async () => {
    button.ariaBusy = 'true';
    try {
      restored(await restoreFromBackup(entry.id));
      offered = '';
      place.hidden = true;
    } catch (error) {
      numbers.textContent = messageOf(error);
    }
    button.ariaBusy = 'false';
  });
  const decline = smallButton('Not on this device', () => {
    localStorage.setItem(DECLINED, JSON.stringify([...declined(), series]));
    place.hidden = true;
  });
  const here = storedCount ? `this device has ${plural(storedCount, 'record')}` : 'this device has none';
  const words = `${capital(device)} has ${plural(recordsIn(entry), 'record')}, ${here}.`;
  place.replaceChildren(element('h2', { text: words }), button, numbers, decline);
  place.hidden = false;
  void count(entry, numbers);
}

/**
 * @param {Entry} entry
 * @param {HTMLElement} numbers
 */
async function count(entry, numbers) {
  try {
    const planned = await previewRestore(entry.id);
    const of = (/** @type {string} */ action) => planned.filter((row) => row.action === action).length;
    const parts = [
      `${plural(of('add'), 'record')} will come back`,
      of('replace') && `${of('replace')} will be as in the backup`,
      of('conflict') && `${of('conflict')} newer here stay`,
    ];
    numbers.textContent = `${parts.filter(Boolean).join(', ')}. It can be undone.`;
  } catch (error) {
    numbers.textContent = messageOf(error);
  }
}

/** @returns {string[]} the series that were declined */
function declined() {
  return JSON.parse(localStorage.getItem(DECLINED) ?? '[]');
}
