/**
 * Backups by themselves: what is prepared leaves in the instant in which the page is hidden or
 * closed; what was not acknowledged follows at the next start, `online` or return to visible.
 */

import { backUpChanges, expectNoAnswer, markAsSynced } from './backup.js';
import { prepared } from './prepare.js';
import { currentSettings } from './settings.js';
import { uploadPath } from './transport.js';
import { check, checkIsDue, watch } from './watch.js';

/**
 * What may be in flight when a page closes, over all its keepalive requests, beacons included
 * (Fetch, "HTTP-network-or-cache fetch": 64 kibibytes).
 */
const KEEPALIVE_BYTES = 64 * 1024;

/** From `beforeunload` to the moment when the page would be gone, in milliseconds. */
const CALLED_OFF = 1000;

/** @type {AbortController | null} */
let enabled = null;

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
  await markAsSynced().catch(alreadyShown);
  if (!signal.aborted) await arrive();
}

/** Ends what `enableAutoBackup` started; a backup that runs is finished. */
export function disableAutoBackup() {
  enabled?.abort();
  enabled = null;
}

function onVisibility() {
  if (document.visibilityState === 'hidden') leave();
  else void arrive();
}

/** @param {PageTransitionEvent} event */
function onPageShow(event) {
  if (event.persisted) void arrive();
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
  const next = prepared();
  if (next && next.key !== sentKey) {
    sentKey = next.key;
    if (sendKeptAlive(next)) expectNoAnswer(next);
    else void sendOrdinarily();
  }
  if (checkIsDue()) void sendUnprepared();
}

function arrive() {
  sentKey = null;
  return navigator.onLine ? sendOrdinarily() : check();
}

/** A mere tab switch lets it finish; a close leaves it to the next start. */
async function sendOrdinarily() {
  await backUpChanges().catch(alreadyShown);
}

/** What was written too shortly before the page was hidden to be prepared. */
async function sendUnprepared() {
  await check();
  const next = prepared();
  if (next && next.key !== sentKey) await sendOrdinarily();
}

/**
 * @param {import('./prepare.js').Prepared} next
 * @returns {boolean} whether the browser took it; it can still be lost, and is no receipt
 */
function sendKeptAlive({ key, body }) {
  if (body.size > KEEPALIVE_BYTES) return false;
  const { baseUrl, token } = currentSettings();
  const url = baseUrl + uploadPath(key);
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
