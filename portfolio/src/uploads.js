/**
 * One upload at a time, in all tabs; and whether the base still is what the server has.
 *
 * The server is asked for the newest backup of this device. It may be another than the base, or
 * none: after a beacon, whose answer nobody reads, a deletion or a damaged file. Then what left by
 * a beacon is sent again with its key; if that does not make it the base, everything is sent.
 */

import { newestOf } from './backups.js';
import { contentsOf, randomHex } from './digests.js';
import { keep } from './own.js';
import { post } from './payload.js';
import { queue } from './turns.js';

/** @import { BackupStatus, Client, Receipt, Task, Upload } from './types.js' */

/** Also the name of the lock of the client before this one, which may run in another tab. */
const LOCK = 'eoe-cloud-backup';

/** For the same contents a lost base is answered once in so many milliseconds. */
const WHOLE_AGAIN = 60 * 60 * 1000;

/** With such an answer to a change, everything is sent. A server may not know changes: 400. */
const NOT_THE_BASE = [400, 409];

export class Uploads {
  #inOrder = queue();
  /** @type {Map<string, Promise<Receipt | null>>} runs that have not begun, by their task */
  #waiting = new Map();
  /** @type {Upload | null} what left with a hidden page, here or in another tab, unanswered */
  unanswered = null;
  /** @type {Pick<BackupStatus, 'verified' | 'reached' | 'note' | 'progress'>} */
  status = { verified: false, reached: null, note: null, progress: null };
  /** @type {unknown} why the last run failed; null after a run that did its task */
  failure = null;
  /** Whether a run has ever succeeded. */
  succeeded = false;

  /** @param {Client} client */
  constructor(client) {
    this.client = client;
  }

  /**
   * @param {Task} task not done twice while it waits
   * @returns {Promise<Receipt | null>} of the last backup that it made
   */
  run(task) {
    const name = JSON.stringify(task);
    const begin = () => {
      this.#waiting.delete(name);
      return this.#guarded(task);
    };
    const run = this.#waiting.get(name) ?? this.#inOrder(begin);
    this.#waiting.set(name, run);
    return run;
  }

  /** @param {Upload} upload @returns {number} until when it waits, having answered a lost base */
  restsUntil({ entries }) {
    const { lost, whole } = this.client.pending.state;
    return lost !== null && whole?.contents === contentsOf(entries) ? whole.at + WHOLE_AGAIN : 0;
  }

  /** From the return to a page to the server's answer nothing counts as verified. */
  unverify() {
    Object.assign(this.status, { verified: false, reached: null });
    this.client.show();
  }

  /** @param {Task} task */
  async #guarded(task) {
    const { client } = this;
    // Also while another tab's upload is waited for: this one is under way.
    if (task.everything !== undefined) this.#show(0);
    try {
      const cycle = () => this.#cycle(task);
      // Plain-http hosts have no locks; there the keys still make one backup of the same state.
      const receipt = await (navigator.locks ? navigator.locks.request(LOCK, cycle) : cycle());
      if (receipt || (this.status.verified && client.pending.count === 0)) this.failure = null;
      if (receipt) this.succeeded = true;
      return receipt;
    } catch (error) {
      // A record that can't be sent is an error for as long as it is there.
      if (error !== client.pending.unsendable) this.failure = error;
      throw error;
    } finally {
      if (task.send ?? client.schedule.sends) await client.correctFlags().catch(() => {});
      this.#show(null);
    }
  }

  /** @param {Task} task @returns {Promise<Receipt | null>} */
  async #cycle(task) {
    const { pending, tracker, reload, schedule } = this.client;
    await reload();
    if (task.everything !== undefined) return this.#sendEverything(task.everything);
    // Pages without this client write unseen, as does any page while this one is cached.
    if (task.scan) await tracker.upToDate({ scan: true });
    // While the server is away, a small request comes first.
    const { isAway } = schedule;
    const newest = task.verify || isAway ? await this.#askForNewest() : undefined;
    const send = task.send ?? (schedule.sends && !(isAway && newest === undefined));
    let receipt = send ? await this.#repeatUnanswered() : null;
    await tracker.upToDate();
    if (newest !== undefined) receipt = await this.#verify(newest, send, receipt);
    if (!send || (task.wait && !isAway && pending.state.lost === null)) return receipt;
    const next = this.#next(Boolean(task.force && !receipt));
    return next ? this.#sendOrAll(next) : receipt;
  }

  /** @returns {Promise<string | null | undefined>} undefined where no list was the answer */
  async #askForNewest() {
    const { settings, pending } = this.client;
    const { deviceId, base } = pending.state;
    try {
      const newest = await newestOf(settings, deviceId, base?.receipt.id ?? null);
      this.status.reached = true;
      return newest;
    } catch {
      Object.assign(this.status, { verified: false, reached: false });
      return undefined;
    }
  }

  /**
   * @param {string | null} newest as listed @param {boolean} send
   * @param {Receipt | null} receipt of an upload since it was listed
   */
  async #verify(newest, send, receipt) {
    const { pending } = this.client;
    let last = receipt;
    const isNewest = () => {
      const id = pending.state.base?.receipt.id ?? null;
      return id === newest || (id !== null && id === last?.id && id > (newest ?? ''));
    };
    if (!isNewest() && send && pending.state.lost === null) {
      // It may be an upload of what is pending, before a crash: the key finds it.
      const next = pending.next();
      if (next) last = await this.#sendUnlessRefused(next);
    }
    this.status.verified = isNewest();
    // It may be listed late, or come back.
    await this.#lose(this.status.verified ? null : (newest ?? ''));
    return last;
  }

  /** @param {string | null} lost see `State` */
  async #lose(lost) {
    const { pending, tracker, reload, announce } = this.client;
    if (pending.state.lost === lost) return;
    if (lost !== null) this.status.verified = false;
    await keep({ lost });
    await reload();
    announce();
    await tracker.upToDate();
  }

  /**
   * An older state that is still on its way must not be stored after a newer one. Its receipt says
   * that it is stored.
   */
  async #repeatUnanswered() {
    const upload = this.unanswered;
    const follows = upload && upload.base === (this.client.pending.valid?.receipt.id ?? null);
    const receipt = follows ? await this.#sendUnlessRefused(upload) : null;
    this.unanswered = null;
    return receipt;
  }

  /** @param {boolean} [force] @returns {Upload | null} what is to be sent now */
  #next(force) {
    const next = this.client.pending.next({ force });
    const again = next ? this.restsUntil(next) : 0;
    const waits = Date.now() < again;
    const time = new Date(again).toLocaleTimeString(undefined, { timeStyle: 'short' });
    const note = `the server does not list the last backup; everything is sent again at ${time}`;
    this.status.note = waits ? note : null;
    return waits ? null : next;
  }

  /** @param {Upload} next a base that the server refuses is lost: then everything is sent, once */
  async #sendOrAll(next) {
    const receipt = await this.#sendUnlessRefused(next);
    if (receipt) return receipt;
    await this.#lose('');
    const all = this.#next();
    return all && this.#send(all);
  }

  /** @param {Upload} upload @returns {Promise<Receipt | null>} null: refused, as is its base */
  async #sendUnlessRefused(upload) {
    try {
      return await this.#send(upload);
    } catch (error) {
      const { status = 0 } = /** @type {any} */ (error);
      if (upload.base === null || !NOT_THE_BASE.includes(status)) throw error;
      return null;
    }
  }

  /** @param {string} before the id of the base when it was asked for */
  async #sendEverything(before) {
    const { pending, tracker } = this.client;
    await this.#repeatUnanswered();
    const stored = await tracker.scan({ keep: true });
    if (pending.unsendable) throw pending.unsendable;
    const { receipt = null } = pending.valid ?? {};
    // An upload that was under way, perhaps another tab's, has done it, and nothing changed since.
    const isNew = receipt && receipt.id !== before;
    if (isNew && pending.complete && pending.count === 0) return receipt;
    return this.#send(pending.everything(stored, randomHex()));
  }

  /** @param {Upload} upload */
  async #send(upload) {
    const { settings, identity, pending, tracker, reload, announce, correctFlags } = this.client;
    const wasLost = pending.state.lost !== null;
    this.#show(0);
    const receipt = await post(settings, upload, identity, (progress) => this.#show(progress));
    this.status.reached = true;
    if (pending.acknowledge(upload, receipt)) {
      if (await keep(pending.state)) this.status.verified = true;
    }
    if (wasLost && upload.base === null) {
      await keep({ whole: { contents: contentsOf(upload.entries), at: Date.now() } });
    }
    await reload();
    announce();
    await correctFlags();
    if (!pending.complete) await tracker.upToDate();
    return receipt;
  }

  /** @param {number | null} progress */
  #show(progress) {
    this.status.progress = progress;
    this.client.show();
  }
}
