/**
 * Notices what was written, here or in another tab, and has it counted and made ready to send.
 *
 * Nothing runs while nothing happens: it follows a write, or, where writes can't be seen, what a
 * person does.
 */

import {
  doubt,
  isComplete,
  look,
  lookUnderWay,
  refresh,
  reread,
  settled,
  take,
} from './changes.js';
import { onWrites, seesWrites } from './database.js';
import { announce, onAnnouncement } from './tabs.js';

/** @typedef {import('./tabs.js').News} News */

/** From an unseen write to a look, in milliseconds; writes come in bursts. */
const AFTER_WRITE = 100;

/** From something a person did: it may have led to a write through another connection. */
const AFTER_ACTIVITY = 2000;

/** A look may take at most one part in so many of the time. */
const LOOK_SHARE = 10;

let watchers = 0;

/** @type {AbortController | null} while anybody watches */
let watching = null;

/** @type {{timer: ReturnType<typeof setTimeout>, at: number} | null} */
let scheduled = null;

/** Before this moment of `performance.now()` no look runs by itself. */
let restUntil = 0;

/** News are heard one after the other. */
let hearing = Promise.resolve();

onWrites((writes, unseen) => {
  take(writes);
  const written = writes.map(({ category, key }) => ({ category, key }));
  if (unseen) doubt();
  announce({ written, unseen });
  if (unseen) schedule(AFTER_WRITE);
});

/**
 * Watches until the signal aborts. Several may watch at once.
 *
 * @param {AbortSignal} signal
 */
export function watch(signal) {
  watchers += 1;
  signal.addEventListener('abort', () => {
    watchers -= 1;
    if (watchers === 0) stop();
  });
  if (!watching) start();
}

/**
 * Says that something was written. Only needed for writes through another connection than the
 * one that `getDB` returns, and even then only to be sooner.
 */
export function notifyChanged() {
  if (!watching) return;
  doubt();
  announce({ unseen: true });
  schedule(AFTER_WRITE);
}

/** @returns {boolean} whether something may have been written that nobody has seen */
export function lookIsDue() {
  return scheduled !== null;
}

/**
 * Looks, unless everything that was written has been seen.
 *
 * @throws {import('./errors.js').BackupError}
 */
export async function upToDate() {
  await lookUnderWay();
  if (watching && !scheduled && isComplete() && seesWrites()) return settled();
  unschedule();
  const start = performance.now();
  await look();
  const end = performance.now();
  restUntil = end + (end - start) * LOOK_SHARE;
}

/**
 * Counts anew, here and in the other tabs: what the client remembers has changed. If something
 * can't be read or sent, the status says so.
 */
export async function recount() {
  announce({ remembered: true });
  await refresh().then(upToDate).catch(() => {});
}

function start() {
  watching = new AbortController();
  const { signal } = watching;
  for (const type of ['pointerup', 'keyup', 'change', 'drop']) {
    const options = { signal, capture: true, passive: true };
    const listener = () => seesWrites() || schedule(AFTER_ACTIVITY);
    window.addEventListener(type, listener, options);
  }
  doubt();
  onAnnouncement((news) => {
    hearing = hearing.then(() => hear(news)).catch(() => schedule(AFTER_WRITE));
  });
}

/** @param {News} news */
async function hear({ written = [], unseen, remembered }) {
  if (unseen) doubt();
  if (written.length > 0) await reread(written);
  if (remembered) await refresh();
  if (!isComplete()) schedule(AFTER_WRITE);
}

function stop() {
  watching?.abort();
  watching = null;
  onAnnouncement(null);
  unschedule();
}

/** @param {number} delay */
function schedule(delay) {
  if (!watching) return;
  const at = Math.max(performance.now() + delay, restUntil);
  if (scheduled && scheduled.at <= at) return;
  unschedule();
  scheduled = { at, timer: setTimeout(() => upToDate().catch(() => {}), at - performance.now()) };
}

function unschedule() {
  clearTimeout(scheduled?.timer);
  scheduled = null;
}
