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
import { Tabs } from './tabs.js';
import { Tracker } from './tracker.js';
import { Uploads } from './uploads.js';

/** @import { News, Settings, Write } from './types.js' */

export class Client {
  /** @type {Settings} */
  settings = { ...DEFAULTS };
  status = new Status();
  pending = new Pending();
  tabs = new Tabs((news) => this.#hear(news));
  stores = new Stores(this.settings, (writes, unseen) => this.#see(writes, unseen));
  tracker = new Tracker(this.pending, this.stores, () => this.load(), () => this.show());
  uploads = new Uploads(this);
  schedule = new Schedule(this);
  /** @type {Promise<void> | null} */
  #loading = null;
  /** News are heard one after the other. */
  #hearing = Promise.resolve();
  /** @type {AbortController | null} */
  #watching = null;
  #watchers = 0;
  /** What the schedule was last told of. */
  #version = 0;

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

  /** @returns {Promise<void>} when the base is known that was remembered */
  load() {
    this.#loading ??= recall()
      .then((state) => this.pending.rebase(state))
      .catch((error) => {
        this.#loading = null;
        throw error;
      });
    return this.#loading;
  }

  /** Takes over what another tab has remembered since. */
  reload = async () => {
    await this.load();
    const head = await recallHead();
    const { pending } = this;
    const isSame =
      head?.deviceId === pending.state.deviceId &&
      head.base?.receipt.id === pending.base?.receipt.id &&
      head.lost === pending.lost;
    if (!isSame) pending.rebase(await recall());
    this.show();
  };

  /** @param {AbortSignal} signal ends the watch on writes and the base, if no other one goes on */
  watch(signal) {
    this.#watchers += 1;
    signal.addEventListener('abort', () => {
      this.#watchers -= 1;
      if (this.#watchers > 0) return;
      this.#watching?.abort();
      this.#watching = null;
      this.tabs.stop();
    });
    if (this.#watching) return;
    this.#watching = new AbortController();
    this.tabs.listen();
    this.tracker.start(this.#watching.signal);
    this.schedule.start(this.#watching.signal);
  }

  /** Says that something was written through a connection that is not watched. */
  notifyChanged() {
    if (!this.#watching) return;
    this.tabs.tell({ unseen: true });
    this.tracker.invalidate();
  }

  /** @param {News} news for the other tabs; where they are about the server, for this page, too */
  announce = (news) => {
    this.tabs.tell(news);
    if (news.remembered) window.dispatchEvent(new Event(BACKUPS_EVENT));
  };

  /** @returns {Promise<number>} how many records were marked as `synced` */
  correctFlags = () => setFlags(this.stores, this.pending.misflagged());

  /** Tells by the status event how things stand, and the schedule of what is pending. */
  show() {
    const { pending, uploads, tracker } = this;
    const { valid } = pending;
    const error = tracker.failure ?? uploads.failure ?? pending.unsendable ?? null;
    const ended = error ? 'error' : uploads.succeeded && !pending.count ? 'success' : 'idle';
    const { unsyncedCount, storedCount } = this.status.current;
    const before = valid ? { unsyncedCount, storedCount } : { unsyncedCount: null, storedCount: null };
    const counted = { unsyncedCount: pending.count, storedCount: pending.storedCount };
    this.status.update({
      status: uploads.told.progress === null ? ended : 'backing-up',
      lastBackupTime: valid?.receipt.timestamp ?? null,
      lastError: error ? messageOf(error) : null,
      baseId: valid?.receipt.id ?? null,
      baseCount: valid ? total(valid.receipt.counts) : null,
      ...uploads.told,
      ...(pending.complete ? counted : before),
    });
    if (pending.version === this.#version) return;
    this.#version = pending.version;
    this.schedule.changed();
  }

  /** @param {Write[]} writes @param {boolean} unseen */
  #see(writes, unseen) {
    const written = writes.map(({ category, key }) => ({ category, key }));
    this.tabs.tell({ written, unseen });
    this.tracker.take(writes);
    if (unseen) this.tracker.invalidate();
  }

  /** @param {News} news */
  #hear(news) {
    this.#hearing = this.#hearing.then(() => this.#follow(news)).catch(() => this.tracker.invalidate());
  }

  /** @param {News} news */
  async #follow({ written = [], unseen, remembered, sent }) {
    if (sent) this.uploads.unanswered = sent;
    if (written.length > 0) await this.tracker.reread(written);
    if (unseen) this.tracker.invalidate();
    if (!remembered) return;
    const before = this.pending.base?.receipt.id;
    await this.reload();
    // Another tab has just read its receipt.
    if (this.pending.valid && this.pending.base?.receipt.id !== before) this.uploads.told.verified = true;
    window.dispatchEvent(new Event(BACKUPS_EVENT));
    if (!this.pending.complete) this.tracker.invalidate();
    this.show();
  }
}

/** @type {Client | null} */
let only = null;

/** @returns {Client} made when first asked for */
export function client() {
  return (only ??= new Client());
}
