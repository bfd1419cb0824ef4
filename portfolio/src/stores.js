/**
 * The host application's database `eoe-atoms`: the connection, and what the host writes through it.
 *
 * The host makes it and gives it its version; nothing here ever creates or upgrades it.
 */

import { unwrap, wrap } from 'idb';

import { complete, openExisting } from './connection.js';
import { BackupError, messageOf } from './errors.js';
import { watchWrites } from './writes.js';

/** @import { Category, Settings, WriteListener } from './types.js' */

const DATABASE = 'eoe-atoms';

export class Stores {
  /** @type {Promise<import('idb').IDBPDatabase> | null} */
  #connection = null;
  /** @type {IDBDatabase | null} */
  #current = null;
  /** Whether the host writes through this connection too, so that its writes are seen. */
  shared = false;

  /**
   * @param {Readonly<Settings>} settings
   * @param {WriteListener} onWrites called for what is written through the host's connection; when
   * that is lost, or another one is configured, as for an unseen write
   */
  constructor(settings, onWrites) {
    this.settings = settings;
    this.onWrites = onWrites;
  }

  /**
   * @template T @param {readonly Category[]} stores @param {IDBTransactionMode} mode
   * @param {(transaction: any) => Promise<T>} work may await this transaction's requests only
   * @returns {Promise<T>} once the transaction is complete @throws {BackupError}
   */
  async transact(stores, mode, work) {
    try {
      return await complete(await this.#begin(stores, mode), work);
    } catch (error) {
      if (error instanceof BackupError) throw error;
      const cause = error;
      throw new BackupError(`The database ${DATABASE} failed: ${messageOf(error)}`, { cause });
    }
  }

  /** Forgets the connection, as when another one is configured. */
  disconnect() {
    this.#connection = null;
    if (!this.#current) return;
    this.#current = null;
    this.shared = false;
    this.onWrites([], true);
  }

  /** @param {readonly Category[]} stores @param {IDBTransactionMode} mode */
  async #begin(stores, mode) {
    try {
      this.#connection ??= this.#connect();
      return (await this.#connection).transaction([...stores], mode);
    } catch (error) {
      this.#connection = null;
      throw error;
    }
  }

  async #connect() {
    const { getDB } = this.settings;
    const database = getDB ? await connectionOf(getDB) : await openExisting(DATABASE);
    if (!database) {
      const message = `There is no database ${DATABASE} yet: the application has to open it first`;
      throw new BackupError(message);
    }
    // A host that opens a connection each time writes through others than this one.
    this.shared = getDB !== undefined && (await connectionOf(getDB)) === database;
    this.#current = database;
    watchWrites(database, (writes, unseen) => {
      if (this.#current === database) this.onWrites(writes, unseen);
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

/** @param {() => Promise<any>} getDB @returns {Promise<IDBDatabase>} */
async function connectionOf(getDB) {
  const given = await getDB();
  // Ours or another copy's wrapping, or none: idb's wrap() takes each.
  return /** @type {IDBDatabase} */ (/** @type {unknown} */ (unwrap(given) ?? given));
}
