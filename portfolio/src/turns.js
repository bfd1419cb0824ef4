/** Long work in short pieces, between which the page gets its turn; work one after the other. */

const TURN = 12; // how long a piece may take, in milliseconds

/**
 * @returns {() => Promise<void> | undefined} to be called, and awaited, between two small pieces
 * of work: it waits only when a turn is over
 */
export function turns() {
  let end = performance.now() + TURN;
  return () => {
    if (performance.now() < end) return undefined;
    // A timer waits for a second and more in a hidden tab; this doesn't.
    const { scheduler } = /** @type {any} */ (globalThis);
    const pause = scheduler?.yield?.() ?? new Promise((resolve) => setTimeout(resolve));
    return pause.then(() => {
      end = performance.now() + TURN;
    });
  };
}

/** @returns {<T>(work: () => T | Promise<T>) => Promise<T>} starts work after the last ended */
export function queue() {
  let last = Promise.resolve();
  return (work) => {
    const ended = last.then(work);
    last = ended.then(() => {}, () => {});
    return ended;
  };
}
