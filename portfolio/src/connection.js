/** Connections to IndexedDB that keep nobody waiting, and transactions that complete or abort. */

import { openDB } from 'idb';

/** @import { OpenDBCallbacks } from 'idb' */

/**
 * Opens at the first call, and again after the connection was closed, for another tab's upgrade or
 * by the browser, or opening it failed.
 *
 * @template T @param {(events: OpenDBCallbacks<any>) => Promise<T>} open
 * @returns {() => Promise<T>}
 */
export function keepOpen(open) {
  /** @type {Promise<T> | null} */
  let connection = null;
  return () => {
    if (connection) return connection;
    const forget = () => {
      if (connection === opening) connection = null;
    };
    const opening = open({
      terminated: forget,
      blocking(_current, _blocked, event) {
        /** @type {any} */ (event.target).close();
        forget();
      },
    });
    opening.catch(forget);
    connection = opening;
    return opening;
  };
}

/**
 * @template T @param {any} transaction idb's wrapping of one
 * @param {(transaction: any) => Promise<T>} work may await this transaction's requests only
 * @returns {Promise<T>} once the transaction is complete; it is aborted where the work fails
 */
export async function complete(transaction, work) {
  try {
    const result = await work(transaction);
    await transaction.done;
    return result;
  } catch (error) {
    try {
      transaction.abort();
    } catch {
      // It has ended by itself: a failed request aborts its transaction.
    }
    await transaction.done.catch(() => {});
    throw error;
  }
}

/**
 * @param {string} name
 * @returns {Promise<import('idb').IDBPDatabase | null>} at the version it has; null without one
 */
export function openExisting(name) {
  let isThere = true;
  const opening = openDB(name, undefined, {
    upgrade(_database, _before, _after, transaction) {
      // Only asked for where there is no such database: aborting leaves it that way.
      isThere = false;
      transaction.done.catch(() => {});
      transaction.abort();
    },
  });
  return opening.catch((error) => {
    if (isThere) throw error;
    return null;
  });
}
