/**
 * What is pending, against a plain reference: two maps that are compared.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { KEY_PATHS } from '../src/categories.js';
import { Pending } from '../src/pending.js';
import { entryOf } from '../src/serialize.js';

const CATEGORIES = ['atoms', 'snapshots', 'voiceNotes'];

/** A reproducible source of chance (mulberry32). */
function chance(seed) {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** A device, its server and what both should know, in the plainest form. */
class Model {
  here = new Map(); // name → {category, key, record}
  backups = []; // {id, contents: Map of name → JSON without `synced`}
  base = null; // one of `backups`, also when it is gone from there
  lost = false;
  clock = 0;
  pending = new Pending();

  constructor(seed) {
    this.random = chance(seed);
    this.pending.rebase({ deviceId: 'phone', base: null, lost: null, known: new Map() });
  }

  pick(list) {
    return list[this.random(list.length)];
  }

  reference() {
    const category = this.pick(CATEGORIES);
    const key = category === 'voiceNotes' ? 1 + this.random(4) : `k${this.random(4)}`;
    return { category, key, name: `${category}/${JSON.stringify(key)}` };
  }

  /** A write, and what the client sees of it. */
  write() {
    const { category, key, name } = this.reference();
    let record = null;
    if (this.random(4) > 0) {
      record = { [KEY_PATHS[category]]: key, n: this.random(3) };
      if (category !== 'atoms') record.synced = this.random(2) === 1;
      if (this.random(12) === 0) record.n = new Date(0);
      this.here.set(name, { category, key, record });
    } else this.here.delete(name);
    if (this.random(6) === 0) this.pending.invalidate();
    else this.pending.track(entryOf(category, key, record));
  }

  scan(keep = false) {
    do {
      this.pending.beginScan({ keep });
      const read = [...this.here.values()];
      for (const { category, key, record } of read) {
        if (this.random(8) === 0) this.write();
        this.pending.see(entryOf(category, key, record));
      }
      this.found = this.pending.endScan();
    } while (!this.pending.complete);
  }

  contents({ unsendable = this.baseContents() } = {}) {
    const contents = new Map();
    for (const [name, { category, key, record }] of this.here) {
      const { json, error } = entryOf(category, key, record);
      if (!error) contents.set(name, plain(json));
      else if (unsendable.has(name)) contents.set(name, unsendable.get(name));
    }
    return contents;
  }

  baseContents() {
    return this.base && !this.lost ? this.base.contents : new Map();
  }

  newId() {
    this.clock += 1;
    return `2026-01-01T00-00-${String(this.clock).padStart(5, '0')}`;
  }

  /** What the server makes of an upload. */
  store(upload) {
    const base = this.backups.find(({ id }) => id === upload.base);
    if (upload.base !== null && !base) return null;
    const contents = new Map(base?.contents);
    for (const { name, json } of upload.entries) {
      if (json === null) assert(contents.delete(name), `${name} is deleted and was not there`);
      else contents.set(name, plain(json));
    }
    assert.deepEqual(countsIn(contents), upload.counts);
    const backup = { id: this.newId(), contents };
    this.backups.push(backup);
    return backup;
  }

  upload({ force = false, late = false } = {}) {
    const upload = this.pending.next({ force });
    const sendable = this.pending.entries().some(({ error }) => !error);
    if (this.pending.complete && sendable && this.contents().size > 0) assert(upload);
    if (!upload) return;
    const backup = this.store(upload);
    if (!backup) return this.lose();
    if (this.pending.complete) assert.deepEqual(backup.contents, this.contents());
    while (this.random(3) === 0) this.write();
    if (late) return;
    this.acknowledge(upload, backup);
  }

  everything() {
    this.scan(true);
    const entries = this.found.filter(({ error }) => !error);
    const upload = this.pending.everything(entries, 'key');
    const backup = this.store(upload);
    assert.deepEqual(backup.contents, this.contents({ unsendable: new Map() }));
    while (this.random(3) === 0) this.write();
    this.acknowledge(upload, backup);
  }

  acknowledge(upload, backup) {
    const receipt = { id: backup.id, timestamp: backup.id, counts: countsIn(backup.contents) };
    assert(this.pending.acknowledge(upload, receipt));
    // The same receipt, heard late: it is no newer than the base.
    assert.equal(this.pending.acknowledge(upload, receipt), false);
    this.base = backup;
    this.lost = false;
  }

  state(lost) {
    const { base, contents } = { base: this.base, contents: this.base?.contents ?? new Map() };
    const receipt = base && { id: base.id, timestamp: base.id, counts: countsIn(contents) };
    const known = new Map();
    for (const [name, json] of contents) {
      const category = name.slice(0, name.indexOf("/"));
      const { digest } = entryOf(category, null, JSON.parse(json));
      known.set(name, { digest, since: this.pending.since(name, digest) ?? base.id });
    }
    return { deviceId: 'phone', base: base && { receipt }, lost, known };
  }

  lose() {
    if (this.base) this.lost = true;
    this.pending.rebase(this.state(this.base ? '' : null));
  }

  find() {
    this.lost = false;
    this.pending.rebase(this.state(null));
  }

  /** Another tab of this device has made a backup of something else. */
  elsewhere() {
    const contents = this.contents();
    const { name, category, key } = this.reference();
    contents.set(name, plain(entryOf(category, key, { [KEY_PATHS[category]]: key, n: 7 }).json));
    this.base = { id: this.newId(), contents };
    this.backups.push(this.base);
    this.find();
  }

  step() {
    const steps = [
      [10, () => this.write()],
      [3, () => this.scan()],
      [4, () => this.upload()],
      [1, () => this.upload({ force: true })],
      [1, () => this.upload({ late: true })],
      [1, () => this.everything()],
      [1, () => this.lose()],
      [1, () => this.find()],
      [1, () => this.elsewhere()],
      [1, () => this.backups.splice(this.random(this.backups.length + 1), 1)],
    ];
    let at = this.random(steps.reduce((sum, [weight]) => sum + weight, 0));
    steps.find(([weight]) => (at -= weight) < 0)[1]();
    this.check();
  }

  check() {
    if (!this.pending.complete) return;
    const base = this.baseContents();
    const differing = [...new Set([...this.here.keys(), ...base.keys()])].filter((name) => {
      const stored = this.here.get(name);
      if (!stored) return true;
      const { json, error } = entryOf(stored.category, stored.key, stored.record);
      return error || plain(json) !== base.get(name);
    });
    const names = this.pending.entries().map(({ name }) => name);
    assert.deepEqual(names.sort(), differing.sort());
    assert.equal(this.pending.count, differing.length);
    assert.equal(this.pending.storedCount, this.here.size);
    const wrong = [...this.here].filter(([name, { category, record }]) => {
      if (category === 'atoms') return false;
      const backedUp = !names.includes(name);
      return record.synced !== backedUp && (backedUp || !this.base || this.lost);
    });
    const misflagged = this.pending.misflagged().map(({ name }) => name);
    assert.deepEqual(misflagged.sort(), wrong.map(([name]) => name).sort());
  }
}

function plain(json) {
  const { synced, ...content } = JSON.parse(json);
  return JSON.stringify(content);
}

function countsIn(contents) {
  const counts = { atoms: 0, compositions: 0, snapshots: 0, voiceNotes: 0, configOverrides: 0 };
  for (const name of contents.keys()) counts[name.slice(0, name.indexOf('/'))] += 1;
  return counts;
}

for (let seed = 0; seed < 40; seed += 1) {
  test(`edits, scans, receipts and lost bases, seed ${seed}`, () => {
    const model = new Model(seed);
    for (let step = 0; step < 120; step += 1) model.step();
    model.scan();
    model.check();
  });
}

function pendingWith(deviceId, records, { base = null, lost = null } = {}) {
  const pending = new Pending();
  pending.rebase({ deviceId, base, lost, known: new Map() });
  pending.beginScan();
  for (const record of records) pending.see(entryOf('atoms', record.slug, record));
  pending.endScan();
  return pending;
}

const ATOM = { slug: 'a', n: 1 };

test('equal contents have one key on a device, and another on each device', () => {
  const [phone, again, laptop] = ['phone', 'phone', 'laptop'].map((id) => pendingWith(id, [ATOM]));
  assert.equal(phone.next().key, again.next().key);
  assert.notEqual(phone.next().key, laptop.next().key);
});

test('contents that come back after a base that is gone have a key of their own', () => {
  const receipt = { id: '2026-01-01T00-00-00', timestamp: '', size: 0, counts: {} };
  const first = pendingWith('phone', [ATOM]).next().key;
  const gone = { base: { receipt }, lost: '' };
  const second = pendingWith('phone', [ATOM], gone).next().key;
  const lostTo = pendingWith('phone', [ATOM], { ...gone, lost: '2025' }).next().key;
  assert.equal(new Set([first, second, lostTo]).size, 3);
});

test('a receipt that is older than what the server lists is not the base', () => {
  const pending = pendingWith('phone', [ATOM], { lost: '2026-02-01T00-00-00' });
  const upload = pending.next();
  const receipt = { id: '2026-01-01T00-00-00', timestamp: '', size: 0, counts: upload.counts };
  assert.equal(pending.acknowledge(upload, receipt), false);
  assert(pending.acknowledge(upload, { ...receipt, id: '2026-02-01T00-00-00' }));
});

test('since is the first backup that had these contents, also after the base was lost', () => {
  const pending = pendingWith('phone', [ATOM]);
  const receipt = (id) => ({ id, timestamp: id, size: 0, counts: pending.next().counts });
  const [entry] = pending.entries();
  pending.acknowledge(pending.next(), receipt('first'));
  const known = new Map([[entry.name, { digest: entry.digest, since: 'first' }]]);
  const base = { receipt: { ...pending.state.base.receipt } };
  pending.rebase({ deviceId: 'phone', base, lost: '', known });
  pending.beginScan();
  pending.see(entry);
  pending.endScan();
  assert.equal(pending.count, 1);
  pending.acknowledge(pending.next(), receipt('second'));
  assert.equal(pending.since(entry.name, entry.digest), 'first');
});

test('a device that was emptied sends nothing by itself', () => {
  const pending = pendingWith('phone', [ATOM]);
  const { counts } = pending.next();
  const receipt = { id: 'first', timestamp: 'first', size: 0, counts };
  pending.acknowledge(pending.next(), receipt);
  pending.track(entryOf('atoms', 'a', null));
  assert.equal(pending.count, 1);
  assert.equal(pending.storedCount, 0);
  assert.equal(pending.next(), null);
});

test('what was asked for before the first scan ended is packed after it', () => {
  const pending = new Pending();
  pending.rebase({ deviceId: 'phone', base: null, lost: null, known: new Map() });
  pending.beginScan();
  pending.track(entryOf('atoms', 'tide', { slug: 'tide' }));
  assert.equal(pending.next(), null);
  pending.endScan();
  assert.deepEqual(pending.next()?.counts.atoms, 1);
  pending.invalidate();
  assert.equal(pending.next(), null);
});

test('a scan that finds nothing new leaves what is ready to be sent as it is', () => {
  const pending = pendingWith('phone', [ATOM]);
  const [next, version] = [pending.next(), pending.version];
  pending.invalidate();
  pending.beginScan();
  pending.see(entryOf('atoms', 'a', ATOM));
  pending.endScan();
  assert.equal(pending.next(), next);
  assert.equal(pending.version, version);
});
