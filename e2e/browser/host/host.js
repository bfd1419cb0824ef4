/**
 * What a portfolio's front end does with the client: opens its own database at version 3, says
 * where it is, and writes to it. The tests drive it through `window.host`.
 */

import * as client from '../../../portfolio/src/index.js';
import '../../../portfolio/src/sync-status.js';
import { unwrap } from '../../../portfolio/node_modules/idb/build/index.js?the-applications-own';
import * as db from '../application/db.js';

/** The plain connection: the application beside this one gives the client idb's. */
const getDB = async () => unwrap(await db.getDB());

/** One transaction of the host's own: `work` gets its store. */
async function transact(name, mode, work) {
  const transaction = (await getDB()).transaction(name, mode);
  const request = work(transaction.objectStore(name));
  await new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error);
  });
  return request?.result;
}

const put = (name, ...records) =>
  transact(name, 'readwrite', (store) => records.forEach((record) => store.put(record)));
const remove = (name, key) => transact(name, 'readwrite', (store) => store.delete(key));
const get = (name, key) => transact(name, 'readonly', (store) => store.get(key));
const getAll = (name) => transact(name, 'readonly', (store) => store.getAll());

/** Text of `length` characters that gzip can't make smaller than three quarters of it. */
function noise(length) {
  let text = '';
  while (text.length < length) {
    text += btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(3000))));
  }
  return text.slice(0, length);
}

/** The status, as soon as it has these members. */
function until(expected, seconds) {
  return new Promise((resolve, reject) => {
    const look = () => {
      const status = client.getBackupStatus();
      const isThere = Object.entries(expected).every(([name, value]) => status[name] === value);
      if (isThere) resolve(status);
      return JSON.stringify(status);
    };
    window.addEventListener(client.STATUS_EVENT, look);
    const fail = () => reject(new Error(`${JSON.stringify(expected)} was expected of ${look()}`));
    setTimeout(fail, seconds * 1000);
    look();
  });
}

const parameters = new URLSearchParams(location.search);
client.configure({ getDB, token: parameters.get('token') ?? undefined });
const started = parameters.has('auto') ? client.enableAutoBackup() : null;

window.host = { client, getDB, noise, started, until, put, remove, get, getAll };
