/**
 * Notices what was written, here or in another tab, and has it counted and prepared.
 *
 * Nothing runs while nothing happens: a check follows a write, or what a person does.
 */

import { onWrite } from './database.js';
import { prepareChanges } from './prepare.js';
import { onConfigure } from './settings.js';
import { announce, onAnnouncement } from './tabs.js';

/** From a write to its check, in milliseconds; writes come in bursts. */
const AFTER_WRITE = 100;

/** From something a person did: it may have led to a write through another connection. */
const AFTER_ACTIVITY = 2000;

/** A check may take at most one part in so many of the time. */
const CHECK_SHARE = 10;

let watchers = 0;

/** @type {AbortController | null} while anybody watches */
let watching = null;

/** @type {{timer: ReturnType<typeof setTimeout>, at: number} | null} */
let scheduled = null;

/** Before this moment of `performance.now()` no check runs. */
let restUntil = 0;

onConfigure(() => {
  if (watching) schedule(0);
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
  announce();
  schedule(AFTER_WRITE);
}

/** @returns {boolean} whether something may have been written that is not prepared yet */
export function checkIsDue() {
  return scheduled !== null;
}

/** Counts and prepares what is stored now. A failure is told by the status event. */
export async function check() {
  unschedule();
  const start = performance.now();
  await prepareChanges().catch(() => {});
  const end = performance.now();
  restUntil = end + (end - start) * CHECK_SHARE;
}

function start() {
  watching = new AbortController();
  const { signal } = watching;
  for (const type of ['pointerup', 'keyup', 'change', 'drop']) {
    const options = { signal, capture: true, passive: true };
    window.addEventListener(type, () => schedule(AFTER_ACTIVITY), options);
  }
  signal.addEventListener('abort', onWrite(notifyChanged));
  onAnnouncement(() => schedule(AFTER_WRITE));
}

function stop() {
  watching?.abort();
  watching = null;
  onAnnouncement(null);
  unschedule();
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
