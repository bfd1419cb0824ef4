/**
 * When things are sent, and when the server is asked for the base.
 *
 * What is pending leaves in the instant in which the page is hidden or closed. What is too much for
 * that leaves some seconds after the last write; less waits ten minutes, since each stored change
 * costs the server's disk a whole portfolio. What commits while the page is hidden leaves at once.
 */

import { compress, pathOf, ready } from './payload.js';

/** @import { Client, Receipt, Task, Upload } from './types.js' */

/** Of all requests of a closing page together (Fetch, "HTTP-network-or-cache fetch"). */
const KEEPALIVE_BYTES = 64 * 1024;

/** More than this is uploaded while the page is open: the rest is left for the last edit. */
const KEPT_FOR_THE_CLOSE = 14 * 1024;
const SECOND = 1000;
const MINUTE = 60 * SECOND;

/** From the last write to an upload of more than that, and from the first at most. */
const QUIET = 5 * SECOND;
const LONGEST = MINUTE;
const SMALL_WAITS = 10 * MINUTE; // from the first write to an upload of less

/** Between two requests for the base; with the time that an answer may take, five minutes. */
const VERIFY = 4.5 * MINUTE;
const PROBE = 30 * SECOND; // between two small requests while the server is away
const NO_ROOM = 10 * MINUTE; // after a 507, the answer of a full disk

/** What the same contents would be answered again: they wait for an edit, `configure` or return. */
const REFUSED = [400, 401, 403, 413];

export class Schedule {
  /** Whether what is pending is sent without being asked for. */
  auto = false;
  /** Whether the last answer was one of `REFUSED`. */
  #refused = false;
  /** Until when the server wants no request, by this clock, in milliseconds. */
  #restUntil = 0;
  /** @type {{timer: ReturnType<typeof setTimeout>, first: number, large: number} | null} */
  #due = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #again;
  /** @type {string | undefined} the key of what left since the page was last visible */
  #left;
  #arrived = false;
  #scannedAt = performance.now(); // when the stores and the server were last asked

  /** @param {Client} client */
  constructor(client) {
    this.client = client;
  }

  /** @param {AbortSignal} signal ends it when it aborts */
  start(signal) {
    this.#arrived = false;
    const back = () => this.arrive({ scan: true });
    const show = () => (document.visibilityState === 'hidden' ? this.#leave() : back());
    document.addEventListener('visibilitychange', show, { signal });
    window.addEventListener('pagehide', () => this.#leave(), { signal });
    window.addEventListener('pageshow', ({ persisted }) => persisted && back(), { signal });
    window.addEventListener('online', () => this.#run({ verify: true }), { signal });
    // After the modules of the page, one of which may call `enableAutoBackup`.
    setTimeout(() => this.#arrived || this.arrive());
  }

  /** Whether what is pending may be sent without being asked for. */
  get sends() {
    return this.auto && !this.#refused;
  }

  get isAway() {
    const { failure, status } = this.client.uploads;
    return failure !== null || status.reached === false;
  }

  /**
   * The start of a page, or the return to it.
   *
   * @param {{scan?: boolean}} [options] `scan`: the stores may have been written to, as at a return
   * @returns {Promise<void>} when what it led to has ended; it never rejects
   */
  arrive({ scan = false } = {}) {
    this.#arrived = true;
    this.#refused = false;
    // Nobody knows whether a beacon has arrived: the next close sends what is still pending.
    this.#left = undefined;
    this.client.uploads.unverify();
    return this.#run({ verify: true, scan });
  }

  /** Something has changed that may make the next try succeed: it is made at once. */
  retry() {
    this.#refused = false;
    if (this.client.isWatched && this.isAway) void this.#run({ verify: true });
  }

  /** What was restored is sent, also where it does not differ from the base. */
  afterRestore() {
    return this.#run({ verify: true, scan: true, force: true, send: true });
  }

  /**
   * @param {Task} task with `send: true` also while the server wants no request
   * @returns {Promise<Receipt | null>} @throws {import('./errors.js').BackupError}
   */
  async perform(task) {
    if (task.scan) this.#scannedAt = performance.now();
    try {
      if (!task.send && Date.now() < this.#restUntil) return null;
      return await this.client.uploads.run(task);
    } catch (error) {
      const { status = 0, retryAfter = 0 } = /** @type {any} */ (error);
      this.#refused = REFUSED.includes(status);
      this.#restUntil = Date.now() + Math.max(retryAfter * SECOND, status === 507 ? NO_ROOM : 0);
      throw error;
    } finally {
      this.#planNext();
    }
  }

  /** What is pending has changed: it is made ready for a close, or sent before it comes to that. */
  changed() {
    const { pending, identity } = this.client;
    this.#refused = false;
    clearTimeout(this.#due?.timer);
    const next = this.auto && pending.isSmall ? pending.next() : null;
    if (next) void compress(next, identity);
    if (!this.auto || pending.entries().every(({ error }) => error)) this.#due = null;
    else this.#planUpload(pending.size > KEPT_FOR_THE_CLOSE);
  }

  /** This page has written: if it is hidden, that leaves at once. */
  afterWrite() {
    if (this.auto && document.visibilityState === 'hidden') void this.#run({});
  }

  /** @param {boolean} isLarge */
  #planUpload(isLarge) {
    const now = Date.now();
    const { first = now, large: before = now } = this.#due ?? {};
    const large = isLarge ? Math.min(before, now) : Infinity;
    const wait = isLarge ? Math.min(QUIET, large + LONGEST - now) : first + SMALL_WAITS - now;
    const timer = setTimeout(() => {
      this.#due = null;
      if (this.auto) void this.#run({});
    }, wait);
    this.#due = { timer, first, large };
  }

  /** @param {Task} task @returns {Promise<void>} never rejects: the status has the error */
  #run(task) {
    return this.perform(task).then(() => {}, () => {});
  }

  #planNext() {
    clearTimeout(this.#again);
    const untilScan = this.#scannedAt + VERIFY - performance.now();
    const wait = this.isAway && !this.#refused ? PROBE : untilScan;
    const again = async () => {
      if (document.visibilityState === 'hidden' || !this.client.isWatched) return;
      // Another tab may upload for long; what nobody confirms is not said to be confirmed.
      const late = setTimeout(() => this.client.uploads.unverify(), PROBE);
      await this.#run({ verify: true, scan: true, wait: true });
      clearTimeout(late);
    };
    this.#again = setTimeout(again, Math.max(wait, this.#restUntil - Date.now()));
  }

  /** Called twice for one close. What it starts must have left when it returns. */
  #leave() {
    const { pending, tracker, uploads } = this.client;
    if (!this.auto || Date.now() < this.#restUntil) return;
    const next = pending.isSmall ? pending.next() : null;
    const isNew = next && next.key !== this.#left && Date.now() >= uploads.restsUntil(next);
    if (isNew) this.#sendAtClose(next);
    // What nobody has seen is found by a scan, and follows.
    if (!pending.isSmall || tracker.scanIsDue) void this.#run({});
  }

  /**
   * Sends a beacon, whose answer nobody reads; with a token a fetch, since a beacon has no headers.
   *
   * @param {Upload} next the browser may lose it
   */
  #sendAtClose(next) {
    const { settings, identity, uploads } = this.client;
    const body = ready(next, identity);
    if (body.size > KEEPALIVE_BYTES) return void this.#run({});
    const url = settings.baseUrl + pathOf(next);
    if (settings.token || !navigator.sendBeacon?.(url, body)) {
      const headers = new Headers({ 'Content-Type': body.type });
      if (settings.token) headers.set('Authorization', `Bearer ${settings.token}`);
      fetch(url, { method: 'POST', body, headers, keepalive: true, credentials: 'include' })
        // Other requests may have used up the 64 KiB: that is a rejection, and only comes later.
        .catch(() => this.#run({}));
    }
    this.#left = next.key;
    uploads.unanswered = next;
    return this.client.broadcast({ sent: next });
  }
}
