/**
 * One fact for each record: whether the base has it as it is here. Counts, status, uploads and
 * flags follow from it. The base is the newest backup of this device. It is *lost* while the server
 * lists another one as that: then every record is pending, and nothing is a deletion. This module
 * is pure: no IndexedDB, no page, no clock.
 */

import { countsOf, referenceOf, total } from './categories.js';
import { keyOf } from './digests.js';

/** @import { Counts, Entry, Receipt, State, Upload } from './types.js' */

/** The largest change that is packed or compressed in one task, in characters. */
const SMALL = 512 * 1024;

export class Pending {
  /** @type {State} */
  state = { deviceId: '', base: null, lost: null, known: new Map() };
  /** @type {Map<string, Entry>} what differs from the base, by record name */
  #pending = new Map();
  /** @type {Map<string, Entry>} whose flag is to be set or cleared, by record name */
  #misflagged = new Map();
  /** @type {{found: Map<string, Entry>, written: Set<string>, keep: boolean, from: number}?} */
  #scan = null;
  /** @type {Upload | null} */
  #next = null;
  /** Whether `#pending` is all there is. */
  complete = false;
  /** How often it was said that it is not. */
  #invalidated = 0;
  /** How often what is pending has changed. */
  version = 0;

  /** The base, unless it is lost. */
  get valid() {
    return this.state.lost === null ? this.state.base : null;
  }

  get isScanning() {
    return this.#scan !== null;
  }

  get count() {
    return this.#pending.size;
  }

  /** The length of what is to be sent, in characters. */
  get size() {
    return this.entries().reduce((size, { json }) => size + (json?.length ?? 0), 0);
  }

  get isSmall() {
    return this.size <= SMALL;
  }

  /** Why a record can't be sent; undefined while each can. */
  get unsendable() {
    return this.entries().find(({ error }) => error)?.error;
  }

  /** Records that are stored here. */
  get storedCount() {
    const unsent = this.entries().filter(({ name, error }) => error && !this.#inBase(name));
    return total(this.#counts()) + unsent.length;
  }

  /** @returns {Entry[]} what was added, edited or deleted since the base */
  entries() {
    return [...this.#pending.values()];
  }

  /** @returns {Entry[]} whose flag is wrong; `flag` is what it should be */
  misflagged() {
    return [...this.#misflagged.values()].map((entry) => ({ ...entry, flag: !entry.flag }));
  }

  /** @param {string} name @param {string | null} digest @returns whether the base has this */
  isBackedUp(name, digest) {
    return digest !== null && this.#inBase(name)?.digest === digest;
  }

  /** @param {string} name @param {string | null} digest @returns when that was first backed up */
  since(name, digest) {
    const known = this.state.known.get(name);
    return known?.digest === digest ? known?.since : null;
  }

  /** Says that something was written unseen: only a scan can tell what. */
  invalidate() {
    this.#invalidated += 1;
    this.complete = false;
  }

  /** @param {State} next the base to compare the records with from now on */
  rebase(next) {
    this.#swap([...this.state.known.keys(), ...next.known.keys()], () => {
      this.state = next;
    });
  }

  /** @param {Entry} entry the record of its name as it is now */
  track(entry) {
    this.#scan?.written.add(entry.name);
    if (entry.digest === null) this.#scan?.found.delete(entry.name);
    else this.#scan?.found.set(entry.name, entry);
    this.#sort(entry);
  }

  /** @param {{keep?: boolean}} [options] `keep`: the scan returns also what is in the base */
  beginScan({ keep = false } = {}) {
    this.#scan = { found: new Map(), written: new Set(), keep, from: this.#invalidated };
  }

  /** @param {Entry} entry read by the scan; what was written during the scan is newer */
  see(entry) {
    const scan = this.#scan;
    if (!scan || scan.written.has(entry.name)) return;
    scan.found.set(entry.name, scan.keep ? entry : { ...entry, json: null });
    this.#sort(entry);
  }

  /** @returns {Entry[]} all that is stored, with its text if that was to be kept */
  endScan() {
    const scan = this.#scan;
    if (!scan) return [];
    this.#scan = null;
    const names = [...(this.valid ? this.state.known.keys() : []), ...this.#pending.keys()];
    for (const name of names.filter((each) => !scan.found.has(each))) {
      this.#sort({ ...referenceOf(name), name, json: null, digest: null, flag: null });
    }
    this.complete = this.#invalidated === scan.from;
    return [...scan.found.values()];
  }

  /**
   * @param {{force?: boolean}} [options] `force`: also when nothing differs
   * @returns {Upload | null} null while there is nothing to send, or not all is known
   */
  next({ force = false } = {}) {
    if (!this.state.deviceId || !(this.valid || this.complete)) return null;
    if (force) return this.#pack(true);
    return (this.#next ??= this.#pack(false));
  }

  /** @param {Entry[]} entries all that is stored @param {string} key @returns {Upload} */
  everything(entries, key) {
    return { key, base: null, entries, counts: countsOf(entries) };
  }

  /**
   * Makes a stored upload the base, if it is newer than every backup known of this device.
   *
   * @param {Upload} upload @param {Receipt} receipt
   * @returns {boolean} whether it is the base now
   */
  acknowledge(upload, receipt) {
    const { base, lost, known } = this.state;
    const isWhole = upload.base === null;
    const follows = isWhole || (lost === null && upload.base === base?.receipt.id);
    const isNewer = lost === null ? receipt.id > (base?.receipt.id ?? '') : receipt.id >= lost;
    if (!follows || !isNewer) return false;
    const next = isWhole ? new Map() : new Map(known);
    for (const { name, digest } of upload.entries) {
      if (digest === null) next.delete(name);
      else next.set(name, { digest, since: this.since(name, digest) ?? receipt.timestamp });
    }
    const names = upload.entries.map(({ name }) => name);
    this.#swap(isWhole ? [...known.keys(), ...names] : names, () => {
      this.state = { ...this.state, base: { receipt }, lost: null, known: next };
    });
    return true;
  }

  /** @param {string} name */
  #inBase(name) {
    return this.valid ? this.state.known.get(name) : undefined;
  }

  /** @param {string[]} names whose place in the base may change @param {() => void} change */
  #swap(names, change) {
    const before = new Map(names.map((name) => [name, this.#inBase(name)?.digest]));
    change();
    this.#next = null;
    this.version += 1;
    for (const [name, digest] of before) {
      // It is stored here as it was in the base before, or deleted: its text is not at hand.
      if (this.#inBase(name)?.digest !== digest && !this.#pending.has(name)) this.invalidate();
    }
    for (const { name, digest } of this.#misflagged.values()) {
      const isMarked = !this.#pending.has(name);
      if (isMarked && !this.isBackedUp(name, digest)) this.#misflagged.delete(name);
    }
    for (const entry of this.entries()) this.#sort(entry);
  }

  /** @param {Entry} entry */
  #sort(entry) {
    const { name, digest, flag } = entry;
    const backedUp = this.isBackedUp(name, digest);
    const isPending = digest === null ? Boolean(this.#inBase(name)) : !backedUp;
    if (this.#pending.get(name)?.digest !== (isPending ? digest : undefined)) {
      this.version += 1;
      this.#next = null;
    }
    if (isPending) this.#pending.set(name, entry);
    else this.#pending.delete(name);
    // An edit clears its own flag, or doesn't; only a lost base makes flags wrong that are set.
    const isMisflagged = flag !== null && flag !== backedUp && (backedUp || !this.valid);
    if (isMisflagged) this.#misflagged.set(name, { ...entry, json: null });
    else this.#misflagged.delete(name);
  }

  /** @returns {Counts} of all that is stored and can be sent */
  #counts() {
    const counts = countsOf([]);
    if (this.valid) Object.assign(counts, this.valid.receipt.counts);
    for (const { category, name, digest, error } of this.#pending.values()) {
      if (!error) counts[category] += Number(digest !== null) - Number(Boolean(this.#inBase(name)));
    }
    return counts;
  }

  /** @param {boolean} force */
  #pack(force) {
    const base = this.valid?.receipt.id ?? null;
    const entries = this.entries().filter(({ error }) => !error);
    const counts = this.#counts();
    // A device that was emptied sends nothing by itself.
    if (total(counts) === 0 || (entries.length === 0 && !force)) return null;
    const { deviceId, lost } = this.state;
    const after = `${this.state.base?.receipt.id ?? ''} ${lost ?? ''}`;
    return { key: keyOf(deviceId, base, after, entries), base, entries, counts };
  }
}
