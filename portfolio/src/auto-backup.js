/**
 * Backups by themselves: what is pending leaves in the instant in which the page is hidden or
 * closed, or, where that is too much for a close, some seconds after the last write. What was not
 * acknowledged follows at the next start, `online` or return to visible.
 */

import { backUpChanges, expectNoAnswer, markAsSynced } from './backup.js';
import { doubt, isSmall, onChange, parcel, pendingSize, unsyncedEntries } from './changes.js';
import { compress, ready } from './parcel.js';
import { currentSettings } from './settings.js';
import { uploadPath } from './transport.js';
import { lookIsDue, upToDate, watch } from './watch.js';

/** @typedef {import('./parcel.js').Parcel} Parcel */

/**
 * What may be in flight when a page closes, over all its keepalive requests, beacons included
 * (Fetch, "HTTP-network-or-cache fetch": 64 kibibytes).
 */
const KEEPALIVE_BYTES = 64 * 1024;

/** What is left for the last edit is the rest: more than this is uploaded while the page is open. */
const KEPT_FOR_THE_CLOSE = 14 * 1024;

/** From the last write to that upload, and from the first at most, in milliseconds. */
const QUIET = 5000;
const LONGEST = 60_000;

/** From `beforeunload` to the moment when the page would be gone, in milliseconds. */
const CALLED_OFF = 1000;

/** @type {AbortController | null} */
let enabled = null;

/** @type {{timer: ReturnType<typeof setTimeout>, since: number} | null} */
let due = null;

/** @type {string | null} the key that left since the page was last seen */
let sentKey = null;

/**
 * Starts backing up at each close, start, return and `online`. A second call changes nothing.
 *
 * @returns {Promise<void>} when the start's own backup, if there was one to make, has ended.
 *   It never rejects: how that went is told by the status event
 */
export async function enableAutoBackup() {
  if (enabled) return;
  enabled = new AbortController();
  const { signal } = enabled;
  document.addEventListener('visibilitychange', onVisibility, { signal });
  window.addEventListener('pagehide', leave, { signal });
  window.addEventListener('beforeunload', onBeforeUnload, { signal });
  window.addEventListener('pageshow', onPageShow, { signal });
  window.addEventListener('online', arrive, { signal });
  watch(signal);
  onChange(prepare);
  await markAsSynced().catch(alreadyShown);
  if (!signal.aborted) await arrive();
}

/** Ends what `enableAutoBackup` started; a backup that runs is finished. */
export function disableAutoBackup() {
  enabled?.abort();
  enabled = null;
  onChange(() => {});
  clearTimeout(due?.timer);
  due = null;
}

/** What a close would carry is compressed, and what is too much for it is sent before. */
function prepare() {
  const next = isSmall() ? parcel() : null;
  if (next && !next.compressed) void compress(next);
  if (pendingSize() <= KEPT_FOR_THE_CLOSE || unsyncedEntries().length === 0) {
    clearTimeout(due?.timer);
    due = null;
    return;
  }
  const since = due?.since ?? performance.now();
  clearTimeout(due?.timer);
  const wait = Math.min(QUIET, since + LONGEST - performance.now());
  due = { since, timer: setTimeout(sendEarly, wait) };
}

function sendEarly() {
  due = null;
  return navigator.onLine ? sendOrdinarily() : undefined;
}

function onVisibility() {
  if (document.visibilityState === 'hidden') leave();
  else void arrive();
}

/** @param {PageTransitionEvent} event */
function onPageShow(event) {
  if (!event.persisted) return;
  // Nobody told this tab anything while it was away.
  doubt();
  void arrive();
}

/** A close that the person or a link like `mailto:` calls off leaves the page visible. */
function onBeforeUnload() {
  leave();
  setTimeout(() => {
    if (document.visibilityState === 'visible') sentKey = null;
  }, CALLED_OFF);
}

/** Called up to three times for one close. What it starts must have left when it returns. */
function leave() {
  const next = isSmall() ? parcel() : null;
  if (!next) {
    if (!isSmall() || lookIsDue()) void sendOrdinarily();
  } else if (next.key !== sentKey) {
    sentKey = next.key;
    if (sendKeptAlive(next)) expectNoAnswer(next);
    else void sendOrdinarily();
    if (lookIsDue()) void sendUnseen();
  }
}

function arrive() {
  sentKey = null;
  return navigator.onLine ? sendOrdinarily() : upToDate().catch(alreadyShown);
}

/** A mere tab switch lets it finish; a close leaves it to the next start. */
async function sendOrdinarily() {
  await backUpChanges().catch(alreadyShown);
}

/** What nobody has seen is looked for, and follows if there is something. */
async function sendUnseen() {
  await upToDate().catch(alreadyShown);
  if (parcel()?.key !== sentKey) await sendOrdinarily();
}

/**
 * @param {Parcel} next
 * @returns {boolean} whether the browser took it; it can still be lost, and is no receipt
 */
function sendKeptAlive(next) {
  const body = ready(next);
  if (body.size > KEEPALIVE_BYTES) return false;
  const { baseUrl, token } = currentSettings();
  const url = baseUrl + uploadPath(next);
  if (!token) return navigator.sendBeacon(url, body);
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': body.type };
  // Other requests may have used up the 64 KiB: that is a rejection, and only comes later.
  fetch(url, { method: 'POST', body, headers, keepalive: true, credentials: 'include' }).catch(
    sendOrdinarily,
  );
  return true;
}

/** By the status event, which is where failures without a caller are told. */
function alreadyShown() {}
