/** Its `message` is a sentence for the person in front of the page; `cause` the original error. */
export class BackupError extends Error {
  /**
   * @param {string} message
   * @param {{cause?: unknown, status?: number, retryAfter?: number}} [options] `status`: the
   * server's, if it answered; `retryAfter`: for how many seconds it wants no other request
   */
  constructor(message, { cause, status, retryAfter = 0 } = {}) {
    super(message, { cause });
    this.name = 'BackupError';
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** @param {unknown} error @returns {string} */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
