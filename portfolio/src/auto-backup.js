/**
 * Backups by themselves: what is prepared leaves in the instant in which the page is hidden or
 * closed; what was not acknowledged follows at the next start, `online` or return to visible.
 *
 * Nothing runs while nothing happens: a check follows a write, or what a person does.
 */

import { backUpChanges, expectNoAnswer, markAsSynced } from './backup.js';
import { onWrite } from './database.js';
import { prepareChanges, prepared } from './prepare.js';
import { currentSettings } from './settings.js';
import { announce, onAnnouncement } from './tabs.js';
import { uploadPath } from './transport.js';

/**
 * What may be in flight when a page closes, over all its keepalive requests, beacons included
 * (Fetch, "HTTP-network-or-cache fetch": 64 kibibytes).
 */
const KEEPALIVE_BYTES = 64 * 1024;

/** From a write to its check, in milliseconds; writes come in bursts. */
const AFTER_WRITE = 100;

/** From something a person did: it may have led to a write through another connection. */
const AFTER_ACTIVITY = 2000;

/** A check may take at most one part in so many of the time. */
const CHECK_SHARE = 10;

/** From `beforeunload` to the moment when the page would be gone, in milliseconds. */
const CALLED_OFF = 1000;

/** @type {AbortController | null} */
let enabled = null;

/** @type {string | null} the key that left since the page was last seen */
let sentKey = null;

/** @type {{timer: ReturnType<typeof setTimeout>, at: number} | null} */
let scheduled = null;

/** Before this moment of `performance.now()` no check runs. */
let restUntil = 0;

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
  for (const type of ['pointerup', 'keyup', 'change', 'drop']) {
    window.addEventListener(type, onActivity, { signal, capture: true, passive: true });
  }
  signal.addEventListener('abort', onWrite(notifyChanged));
  onAnnouncement(() => schedule(AFTER_WRITE));
  await markAsSynced().catch(alreadyShown);
  await arrive();
}

/** Ends what `enableAutoBackup` started; a backup that runs is finished. */
export function disableAutoBackup() {
  enabled?.abort();
  enabled = null;
  onAnnouncement(null);
  unschedule();
}

/**
 * Says that something was written. Only needed for writes through another connection than the
 * one that `getDB` returns, and even then only to be sooner.
 */
export function notifyChanged() {
  if (!enabled) return;
  announce();
  schedule(AFTER_WRITE);
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

function onActivity() {
  schedule(AFTER_ACTIVITY);
}

/** Called up to three times for one close. What it starts must have left when it returns. */
function leave() {
  const next = prepared();
  if (next && next.key !== sentKey) {
    sentKey = next.key;
    if (sendKeptAlive(next)) expectNoAnswer(next);
    else void sendOrdinarily();
  }
  if (scheduled) void sendUnprepared();
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

/** @param {number} delay */
function schedule(delay) {
  const at = Math.max(performance.now() + delay, restUntil);
  if (scheduled && scheduled.at <= at) return;
  unschedule();
  scheduled = { at, timer: setTimeout(check, at - performance.now()) };
}

function unschedule() {
  clearTimeout(scheduled?.timer);
  scheduled = null;
}

async function check() {
  unschedule();
  const start = performance.now();
  await prepareChanges().catch(alreadyShown);
  const end = performance.now();
  restUntil = end + (end - start) * CHECK_SHARE;
}

/** By the status event, which is where failures without a caller are told. */
function alreadyShown() {}
