/**
 * Long work in short turns, between which the page gets its own.
 */

const TURN = 12; // how long a turn may take, in milliseconds

/**
 * @returns {() => Promise<void> | undefined} to be called, and awaited, between two small pieces
 * of work: it waits only when a turn is over
 */
export function turns() {
  let end = performance.now() + TURN;
  return () => {
    if (performance.now() < end) return undefined;
    return pause().then(() => {
      end = performance.now() + TURN;
    });
  };
}

/** @returns {Promise<void>} */
function pause() {
  // A timer waits for a second and more in a hidden tab; this doesn't.
  const { scheduler } = /** @type {any} */ (globalThis);
  return scheduler?.yield ? scheduler.yield() : new Promise((resolve) => setTimeout(resolve));
}
