/** The one client of a page: its parts, and how they are joined. */

import { total } from './categories.js';
import { messageOf } from './errors.js';
import { recall, recallHead } from './own.js';
import { Pending } from './pending.js';
import { setFlags } from './records.js';
import { Schedule } from './schedule.js';
import { changed, DEFAULTS } from './settings.js';
import { BACKUPS_EVENT, Status } from './status.js';
import { Stores } from './stores.js';
import { Tracker } from './tracker.js';
import { queue } from './turns.js';
import { Uploads } from './uploads.js';

/** @import { News, Settings, Write } from './types.js' */

/** The tabs' channel, also of the client before this one, which may run in another tab. */
const CHANNEL = 'eoe-cloud-backup';

export class Client {
  /** @type {Settings} */
  settings = { ...DEFAULTS };
  status = new Status();
  pending = new Pending();
  stores = new Stores(this);
  tracker = new Tracker(this);
  uploads = new Uploads(this);
  schedule = new Schedule(this);
  /** @type {BroadcastChannel | null} */
  #channel = null;
  #inOrder = queue();
  /** @type {AbortController | null} */
  #watching = null;
  #watchers = 0;
  /** The version of what is pending that the schedule knows. */
  #version = 0;

  get isWatched() {
    return this.#watching !== null;
  }

  /** @param {Partial<Settings>} options see `configure` in index.js */
  configure(options) {
    const { getDB } = this.settings;
    Object.assign(this.settings, changed(this.settings, options));
    if (this.settings.getDB !== getDB) this.stores.disconnect();
    this.schedule.retry();
  }

  /** What is sent along with each upload. */
  get identity() {
    return { deviceId: this.pending.state.deviceId, device: this.settings.device };
  }

  /** Reads, at the first call, the base that was remembered. */
  async load() {
    if (this.pending.state.deviceId) return;
    const state = await recall();
    if (!this.pending.state.deviceId) this.pending.rebase(state);
  }

  /** Takes over what another tab has remembered since. */
  reload = async () => {
    await this.load();
    const { known, ...head } = this.pending.state;
    const isSame = JSON.stringify(head) === JSON.stringify(await recallHead());
    if (!isSame) this.pending.rebase(await recall());
    this.show();
  };

  /** @param {AbortSignal} signal ends the watch on writes and the base, if no other one goes on */
  watch(signal) {
    this.#watchers += 1;
    signal.addEventListener('abort', () => {
      this.#watchers -= 1;
      if (this.#watchers > 0) return;
      this.#watching?.abort();
      this.#channel?.close();
      this.#watching = this.#channel = null;
    });
    if (this.#watching) return;
    this.#watching = new AbortController();
    this.#open().onmessage = ({ data }) => this.#onNews(data);
    this.tracker.start(this.#watching.signal);
    this.schedule.start(this.#watching.signal);
  }

  /** @param {News} news for the other tabs */
  broadcast(news) {
    this.#open().postMessage(news);
  }

  /** Reports to this page and the other tabs that the server's list or the base has changed. */
  announce = () => {
    this.broadcast({ remembered: true });
    window.dispatchEvent(new Event(BACKUPS_EVENT));
  };

  /** @returns {Promise<number>} how many records were marked as `synced` */
  correctFlags = () => setFlags(this.stores, this.pending.misflagged());

  /** Updates the status, and the schedule where what is pending has changed. */
  show() {
    const { pending, uploads, tracker } = this;
    const { valid } = pending;
    const error = tracker.failure ?? uploads.failure ?? pending.unsendable ?? null;
    const isSuccess = uploads.succeeded && valid !== null && pending.count === 0;
    const ended = error ? 'error' : isSuccess ? 'success' : 'idle';
    const unknown = valid ? {} : { unsyncedCount: null, storedCount: null };
    const counted = { unsyncedCount: pending.count, storedCount: pending.storedCount };
    this.status.update({
      status: uploads.status.progress === null ? ended : 'backing-up',
      lastBackupTime: valid?.receipt.timestamp ?? null,
      lastError: error ? messageOf(error) : null,
      baseId: valid?.receipt.id ?? null,
      baseCount: valid ? total(valid.receipt.counts) : null,
      ...uploads.status,
      ...(pending.complete ? counted : unknown),
    });
    if (pending.version === this.#version) return;
    this.#version = pending.version;
    this.schedule.changed();
  }

  #open() {
    return (this.#channel ??= new BroadcastChannel(CHANNEL));
  }

  /** @param {Write[]} writes @param {boolean} unseen whether there were others */
  see(writes, unseen) {
    this.broadcast({ written: writes.map(({ category, key }) => ({ category, key })), unseen });
    this.tracker.track(writes);
    if (unseen) this.tracker.invalidate();
    this.show();
    this.schedule.afterWrite();
  }

  /** @param {News} news */
  #onNews(news) {
    this.#inOrder(() => this.#follow(news)).catch(() => this.tracker.invalidate());
  }

  /** @param {News} news */
  async #follow({ written = [], unseen, remembered, sent }) {
    const { pending, uploads, tracker } = this;
    if (sent) uploads.unanswered = sent;
    if (written.length > 0) await tracker.reread(written);
    if (unseen) pending.invalidate();
    if (remembered) {
      const before = pending.state.base?.receipt.id;
      await this.reload();
      // Another tab has just read its receipt.
      if (pending.valid && pending.valid.receipt.id !== before) uploads.status.verified = true;
      window.dispatchEvent(new Event(BACKUPS_EVENT));
    }
    if (!pending.complete) tracker.invalidate();
    this.show();
  }
}

/** @type {Client | null} */
let only = null;

/** @returns {Client} made when first asked for */
export function client() {
  return (only ??= new Client());
}
