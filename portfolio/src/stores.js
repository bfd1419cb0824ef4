/**
 * The host application's database `eoe-atoms`: the connection, and what the host writes through it.
 * The host makes it and gives it its version; nothing here ever creates or upgrades it.
 */

import { unwrap, wrap } from 'idb';

import { complete, openExisting } from './connection.js';
import { BackupError, messageOf } from './errors.js';
import { watchWrites } from './writes.js';

/** @import { Category, Client } from './types.js' */

const DATABASE = 'eoe-atoms';

export class Stores {
  /** @type {Promise<import('idb').IDBPDatabase> | null} */
  #connection = null;
  /** @type {IDBDatabase | null} */
  #current = null;
  /** Whether the host writes through this connection too, so that its writes are seen. */
  shared = false;

  /** @param {Client} client sees the writes; a lost connection counts as an unseen write */
  constructor(client) {
    this.client = client;
  }

  /**
   * @template T @param {readonly Category[]} stores @param {IDBTransactionMode} mode
   * @param {(transaction: any) => Promise<T>} work may await this transaction's requests only
   * @returns {Promise<T>} once the transaction is complete @throws {BackupError}
   */
  async transact(stores, mode, work) {
    try {
      const begun = this.#begin(stores, mode);
      begun.catch(() => {
        this.#connection = null;
      });
      return await complete(await begun, work);
    } catch (cause) {
      if (cause instanceof BackupError) throw cause;
      throw new BackupError(`The database ${DATABASE} failed: ${messageOf(cause)}`, { cause });
    }
  }

  /** Forgets the connection, as when another one is configured. */
  disconnect() {
    this.#connection = null;
    if (!this.#current) return;
    this.#current = null;
    this.shared = false;
    this.client.see([], true);
  }

  /** @param {readonly Category[]} stores @param {IDBTransactionMode} mode */
  async #begin(stores, mode) {
    // A host that asked for its connection twice at once, at its start, has two and keeps one.
    const { getDB } = this.client.settings;
    if (this.shared && bare(await getDB?.()) !== this.#current) this.disconnect();
    this.#connection ??= this.#connect();
    return (await this.#connection).transaction([...stores], mode);
  }

  async #connect() {
    const { getDB } = this.client.settings;
    const database = bare(getDB ? await getDB() : await openExisting(DATABASE));
    if (!database) {
      const message = `There is no database ${DATABASE} yet: the application has to open it first`;
      throw new BackupError(message);
    }
    // A host that opens a connection each time writes through others than this one.
    this.shared = getDB !== undefined && bare(await getDB()) === database;
    this.#current = database;
    watchWrites(database, (writes, unseen) => {
      if (this.#current === database) this.client.see(writes, unseen);
    });
    const lose = () => {
      if (!getDB) database.close();
      if (this.#current === database) this.disconnect();
    };
    database.addEventListener('versionchange', lose);
    database.addEventListener('close', lose);
    return wrap(database);
  }
}

/** @param {any} database idb's wrapping, by this or another copy, or none @returns {IDBDatabase} */
function bare(database) {
  return /** @type {any} */ (unwrap(database)) ?? database;
}
