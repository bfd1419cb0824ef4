/**
 * What a portfolio's front end does with the client: opens its own database at version 3, says
 * where it is, and writes to it. The tests drive it through `window.host`.
 */

import * as client from '../../../portfolio/src/index.js';
import '../../../portfolio/src/sync-status.js';
import { openDB } from '../../../portfolio/node_modules/idb/build/index.js?a-copy-of-its-own';
import { sha256 } from '../../../portfolio/src/digests.js';

/** @type {Promise<IDBDatabase> | null} */
let connection = null;

function getDB() {
  connection ??= new Promise((resolve, reject) => {
    const request = indexedDB.open('eoe-atoms', 3);
    request.onupgradeneeded = () => {
      const create = (name, options) => request.result.createObjectStore(name, options);
      create('atoms', { keyPath: 'slug' });
      create('compositions', { keyPath: 'id' });
      create('snapshots', { keyPath: 'id' });
      create('voiceNotes', { keyPath: 'id', autoIncrement: true });
      create('screenshots', { keyPath: 'id', autoIncrement: true });
      create('configOverrides', { keyPath: 'atomSlug' });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return connection;
}

/** One transaction of the host's own: `work` gets its stores by name. */
async function transact(mode, work) {
  const names = ['atoms', 'compositions', 'snapshots', 'voiceNotes', 'configOverrides'];
  const transaction = (await getDB()).transaction(names, mode);
  const stores = Object.fromEntries(names.map((name) => [name, transaction.objectStore(name)]));
  const request = work(stores);
  await new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error);
  });
  return request?.result;
}

const put = (store, ...records) =>
  transact('readwrite', (stores) => records.forEach((record) => stores[store].put(record)));
const remove = (store, key) => transact('readwrite', (stores) => stores[store].delete(key));
const get = (store, key) => transact('readonly', (stores) => stores[store].get(key));
const getAll = (store) => transact('readonly', (stores) => stores[store].getAll());

/** Text of `length` characters that gzip can't make smaller than three quarters of it. */
function noise(length) {
  let text = '';
  while (text.length < length) {
    text += btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(3000))));
  }
  return text.slice(0, length);
}

/** Each status from now on, in `statuses`. */
const statuses = [];
window.addEventListener(client.STATUS_EVENT, ({ detail }) => statuses.push(detail));

/** The status, as soon as it has these members. */
function until(expected, seconds) {
  return new Promise((resolve, reject) => {
    const look = () => {
      const status = client.getBackupStatus();
      if (Object.entries(expected).every(([name, value]) => status[name] === value)) {
        resolve(status);
      }
    };
    window.addEventListener(client.STATUS_EVENT, look);
    const fail = () => reject(new Error(`waited for ${JSON.stringify(expected)}, ` +
      `the status is ${JSON.stringify(client.getBackupStatus())}`));
    setTimeout(fail, seconds * 1000);
    look();
  });
}

const parameters = new URLSearchParams(location.search);
client.configure({ getDB, token: parameters.get('token') ?? undefined });
const started = parameters.has('auto') ? client.enableAutoBackup() : null;

window.host = { client, getDB, openDB, noise, sha256, started, statuses, until };
Object.assign(window.host, { put, remove, get, getAll });
