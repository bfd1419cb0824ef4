import { BackupError } from './errors.js';

/** @import { Settings } from './types.js' */

/** @type {Readonly<Settings>} */
export const DEFAULTS = {
  baseUrl: '',
  getDB: undefined,
  token: undefined,
  device: undefined,
  timeoutMs: 30_000,
};

/**
 * @param {Readonly<Settings>} settings
 * @param {Partial<Settings>} options what is left out keeps its value, and so do a `baseUrl` and
 * a `timeoutMs` that are undefined
 * @returns {Settings} @throws {BackupError} for a value of the wrong type
 */
export function changed(settings, options) {
  const { baseUrl = settings.baseUrl, timeoutMs = settings.timeoutMs } = options;
  const { getDB, token, device } = { ...settings, ...options };
  const check = (/** @type {boolean} */ isRight, /** @type {string} */ rule) => {
    if (!isRight) throw new BackupError(`configure: ${rule}`);
  };
  const isFunction = getDB === undefined || typeof getDB === 'function';
  check(typeof baseUrl === 'string', 'baseUrl must be a string');
  check(isFunction, 'getDB must be a function that resolves to a database');
  check(typeof (token ?? '') === 'string', 'token must be a string');
  check(typeof (device ?? '') === 'string', 'device must be a string');
  check(Number.isFinite(timeoutMs) && timeoutMs > 0, 'timeoutMs must be a positive number');
  const [own, name] = [token || undefined, device || undefined];
  return { baseUrl: baseUrl.replace(/\/+$/, ''), getDB, token: own, device: name, timeoutMs };
}
