/**
 * One request to the backup server, tried up to four times.
 *
 * XMLHttpRequest rather than fetch: it alone reports how much of an upload has been sent, and
 * so an attempt can fail for standing still instead of for being large.
 */

import { BackupError } from './errors.js';

/** @import { Settings } from './types.js' */

/**
 * @typedef {object} Request
 * @property {string} path below the base URL
 * @property {string} [method] GET by default
 * @property {Blob} [body]
 * @property {(fraction: number) => void} [onProgress] 0 to 1, of the upload
 * @property {boolean} [once] not tried again
 */

/** @typedef {{status: number, text: string, retryAfter: number}} Answer status 0: there was none */

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
    const answer = await exchange(settings, options);
    const { status } = answer;
    // A deletion whose answer was lost: what is asked for has happened.
    const isDeleted = status === 404 && options.method === 'DELETE' && attempt > 0;
    if ((status >= 200 && status < 300) || isDeleted) return answer;
    const wait = Math.max(DELAYS[attempt] ?? Infinity, answer.retryAfter);
    const isWorthIt = [0, 408, 429].includes(status) || status >= 500;
    if (options.once || !isWorthIt || wait > LONGEST_WAIT) throw refusal(answer);
    options.onProgress?.(0);
    await new Promise((resolve) => setTimeout(resolve, wait * 1000));
  }
}

/** @param {Answer} answer @returns {any} the JSON in it */
export function parsed(answer) {
  const { status, text } = answer;
  try {
    return JSON.parse(text);
  } catch (cause) {
    const message = `The answer (${status}) is not the backup server's: no JSON`;
    throw new BackupError(message, { cause, status });
  }
}

/** @param {unknown} value */
export function isTime(value) {
  return typeof value === 'string' && !Number.isNaN(Date.parse(value));
}

/** @param {Answer} answer */
function refusal({ status, text, retryAfter }) {
  if (status === 0) return new BackupError(text);
  let reason;
  try {
    reason = JSON.parse(text).error;
  } catch {
    // A proxy's page: its status says more than its text.
  }
  const message = typeof reason === 'string' && reason ? reason : `The server answered ${status}`;
  return new BackupError(message, { status, retryAfter });
}

/** @param {Readonly<Settings>} settings @param {Request} options @returns {Promise<Answer>} */
function exchange({ baseUrl, token, timeoutMs }, { method = 'GET', path, body, onProgress }) {
  return new Promise((resolve) => {
    const xhr = new XMLHttpRequest();
    /** @type {ReturnType<typeof setTimeout>} */
    let timer;
    const finish = (/** @type {string} */ text, status = 0, retryAfter = 0) => {
      clearTimeout(timer);
      resolve({ status, text, retryAfter });
    };
    const stalled = () => {
      finish(`The server did not answer within ${timeoutMs / 1000} s`);
      xhr.abort();
    };
    const moved = (longer = 0) => {
      clearTimeout(timer);
      timer = setTimeout(stalled, timeoutMs + longer);
    };
    xhr.onload = () => {
      // In seconds; a date (RFC 9110, section 10.2.3) is no number, and does not count.
      finish(xhr.responseText, xhr.status, Number(xhr.getResponseHeader('Retry-After')) || 0);
    };
    xhr.onerror = () => finish('The backup server can\'t be reached');
    xhr.onprogress = () => moved();
    xhr.upload.onprogress = ({ loaded, total }) => {
      moved();
      onProgress?.(total ? loaded / total : 0);
    };
    xhr.upload.onload = ({ loaded }) => moved((loaded / DRAIN) * 1000);
    xhr.open(method, baseUrl + path);
    // As a beacon does, so that what works while the page is open works when it closes.
    xhr.withCredentials = true;
    if (body) xhr.setRequestHeader('Content-Type', body.type);
    if (token) xhr.setRequestHeader('Authorization', `Bearer ${token}`);
    moved();
    xhr.send(body);
  });
}
