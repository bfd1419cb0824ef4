/**
 * One request to the backup server, tried up to four times, and what its answers must look like.
 *
 * XMLHttpRequest rather than fetch: it alone reports how much of an upload has been sent, and
 * so an attempt can fail for standing still instead of for being large.
 */

import { CATEGORIES } from './categories.js';
import { BackupError } from './errors.js';

/** @import { Counts, Receipt, Settings } from './types.js' */

/**
 * @typedef {object} Request
 * @property {string} path below the base URL
 * @property {string} [method] GET by default
 * @property {Blob | string} [body]
 * @property {string} [type] the body's
 * @property {(fraction: number) => void} [onProgress] 0 to 1, of the upload
 * @property {boolean} [once] not tried again
 */

/** @typedef {{status: number, text: string, retryAfter: number}} Answer */

const DELAYS = [1, 2, 4]; // seconds before the second, third and fourth attempt

/** A server that asks to be left alone for longer gets its wish: the attempt fails. */
const LONGEST_WAIT = 120;

/** Bytes a second in which the system and proxies pass on what the browser has handed over. */
const DRAIN = 32 * 1024;

/**
 * @param {Readonly<Settings>} settings @param {Request} options
 * @returns {Promise<Answer>} with a 2xx status
 * @throws {BackupError} after the last attempt, or at once for an answer no retry can change
 */
export async function request(settings, options) {
  for (let attempt = 0; ; attempt += 1) {
    const outcome = await exchange(settings, options);
    const answer = outcome instanceof BackupError ? null : outcome;
    if (answer && answer.status >= 200 && answer.status < 300) return answer;
    // A deletion whose answer was lost: what is asked for has happened.
    if (answer?.status === 404 && options.method === 'DELETE' && attempt > 0) return answer;
    const failure = outcome instanceof BackupError ? outcome : refusal(outcome);
    const wait = Math.max(DELAYS[attempt] ?? Infinity, failure.retryAfter);
    if (options.once || !isWorthRetrying(answer) || wait > LONGEST_WAIT) throw failure;
    options.onProgress?.(0);
    await new Promise((resolve) => setTimeout(resolve, wait * 1000));
  }
}

/** @param {Answer} answer @returns {any} the JSON in it */
export function parsed(answer) {
  try {
    return JSON.parse(answer.text);
  } catch (error) {
    throw new BackupError(`The answer (${answer.status}) is not the backup server's: no JSON`, {
      cause: error,
      status: answer.status,
    });
  }
}

/**
 * A captive portal's 200 is no receipt, and neither is one for other contents.
 *
 * @param {any} receipt @param {Counts} counts @returns {Receipt} @throws {BackupError}
 */
export function checkedReceipt(receipt, counts) {
  const isReceipt =
    typeof receipt?.id === 'string' &&
    receipt.id !== '' &&
    !Number.isNaN(Date.parse(receipt.timestamp)) &&
    Number.isInteger(receipt.size) &&
    typeof receipt.counts === 'object';
  if (!isReceipt) throw new BackupError('The server\'s answer is not a receipt for a backup');
  for (const category of CATEGORIES) {
    const stored = receipt.counts?.[category];
    if (stored === counts[category]) continue;
    throw new BackupError(
      `The server's receipt is not for this backup: it names ${stored} ${category}, ` +
        `${counts[category]} were sent`,
    );
  }
  return receipt;
}

/** @param {Answer | null} answer null where there was none */
function isWorthRetrying(answer) {
  return !answer || answer.status === 408 || answer.status === 429 || answer.status >= 500;
}

/** @param {Answer} answer */
function refusal({ status, text, retryAfter }) {
  let reason;
  try {
    reason = JSON.parse(text).error;
  } catch {
    // A proxy's page: its status says more than its text.
  }
  const message = typeof reason === 'string' && reason ? reason : `The server answered ${status}`;
  return new BackupError(message, { status, retryAfter });
}

/**
 * @param {Readonly<Settings>} settings @param {Request} options
 * @returns {Promise<Answer | BackupError>} an error where no answer came
 */
function exchange({ baseUrl, token, timeoutMs }, { method = 'GET', path, body, type, onProgress }) {
  return new Promise((resolve) => {
    const xhr = new XMLHttpRequest();
    /** @type {ReturnType<typeof setTimeout>} */
    let timer;
    const finish = (/** @type {Answer | BackupError} */ outcome) => {
      clearTimeout(timer);
      resolve(outcome);
    };
    const stalled = () => {
      finish(new BackupError(`The server did not answer within ${timeoutMs / 1000} s`));
      xhr.abort();
    };
    const moved = (longer = 0) => {
      clearTimeout(timer);
      timer = setTimeout(stalled, timeoutMs + longer);
    };
    xhr.onload = () => {
      // In seconds; a date (RFC 9110, section 10.2.3) is no number, and does not count.
      const retryAfter = Number(xhr.getResponseHeader('Retry-After')) || 0;
      finish({ status: xhr.status, text: xhr.responseText, retryAfter });
    };
    xhr.onerror = () => finish(new BackupError('The backup server can\'t be reached'));
    xhr.onprogress = () => moved();
    xhr.upload.onprogress = ({ loaded, total }) => {
      moved();
      onProgress?.(total ? loaded / total : 0);
    };
    xhr.upload.onload = ({ loaded }) => moved((loaded / DRAIN) * 1000);
    xhr.open(method, baseUrl + path);
    // As a beacon does, so that what works while the page is open works when it closes.
    xhr.withCredentials = true;
    if (type) xhr.setRequestHeader('Content-Type', type);
    if (token) xhr.setRequestHeader('Authorization', `Bearer ${token}`);
    moved();
    xhr.send(body);
  });
}
