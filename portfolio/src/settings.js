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
  if (typeof baseUrl !== 'string') throw new BackupError('configure: baseUrl must be a string');
  if (getDB !== undefined && typeof getDB !== 'function') {
    throw new BackupError('configure: getDB must be a function that resolves to a database');
  }
  for (const [name, value] of Object.entries({ token, device })) {
    if (value !== undefined && value !== null && typeof value !== 'string') {
      throw new BackupError(`configure: ${name} must be a string`);
    }
  }
  if (!(Number.isFinite(timeoutMs) && timeoutMs > 0)) {
    throw new BackupError('configure: timeoutMs must be a positive number of milliseconds');
  }
  return {
    baseUrl: baseUrl.replace(/\/+$/, ''),
    getDB,
    token: token || undefined,
    device: device || undefined,
    timeoutMs,
  };
}
