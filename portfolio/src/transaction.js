/**
 * A transaction's end: complete when its work is done, aborted when that fails.
 */

/**
 * @template T
 * @param {any} transaction idb's wrapping of one
 * @param {(transaction: any) => Promise<T>} work may await this transaction's requests only
 * @returns {Promise<T>} once the transaction is complete
 */
export async function complete(transaction, work) {
  try {
    const result = await work(transaction);
    await transaction.done;
    return result;
  } catch (error) {
    abort(transaction);
    await transaction.done.catch(() => {});
    throw error;
  }
}

/** @param {any} transaction */
function abort(transaction) {
  try {
    transaction.abort();
  } catch (error) {
    // It has ended by itself: a failed request aborts its transaction.
    if (/** @type {DOMException} */ (error).name !== 'InvalidStateError') throw error;
  }
}
