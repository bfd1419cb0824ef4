/** Connections to IndexedDB that keep nobody waiting, and transactions that complete or abort. */

/**
 * @typedef {object} ConnectionEvents idb's `openDB` takes them
 * @property {(current: number, blocked: number | null, event: any) => void} blocking
 * @property {() => void} terminated
 */

/**
 * Opens at the first call, and again after the connection was closed, for another tab's upgrade or
 * by the browser, or opening it failed.
 *
 * @template T @param {(events: ConnectionEvents) => Promise<T>} open @returns {() => Promise<T>}
 */
export function keepOpen(open) {
  /** @type {Promise<T> | null} */
  let connection = null;
  return () => {
    if (connection) return connection;
    const forget = () => {
      if (connection === opening) connection = null;
    };
    const blocking = (/** @type {any} */ _current, /** @type {any} */ _blocked, /** @type {any} */ event) => {
      event.target.close();
      forget();
    };
    const opening = open({ blocking, terminated: forget });
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
 * @returns {Promise<IDBDatabase | null>} at whatever version it has; null where there is none
 */
export function openExisting(name) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name);
    // Only asked for where there is no such database: aborting leaves it that way.
    request.onupgradeneeded = () => request.transaction?.abort();
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => {
      if (request.error?.name === 'AbortError') resolve(null);
      else reject(request.error);
    };
  });
}
