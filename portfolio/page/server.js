/**
 * What the page asks the client for. The client of an earlier release lists everything at once,
 * and knows neither devices nor dismissed undos.
 */

import * as released from '../src/index.js';

/** @typedef {import('./series.js').Backup} Backup */

/** Backups that are asked for at once. */
const PAGE = 500;

const DISMISSED = 'backups-page:dismissed-undo';

const client = /** @type {any} */ (released);

export const BACKUPS_EVENT = client.BACKUPS_EVENT ?? 'eoe:backups';

/**
 * @param {string | null} before the id that the page before named, null for the newest
 * @returns {Promise<{backups: Backup[], next: string | null, unreadable: string[]}>}
 */
export async function listPage(before) {
  if (client.listBackupPage) {
    return client.listBackupPage({ limit: PAGE, before: before ?? undefined });
  }
  return { backups: await client.listBackups(), next: null, unreadable: [] };
}

/** @returns {Promise<string | undefined>} */
export async function ownDeviceId() {
  return client.getDeviceId?.();
}

/**
 * @param {Backup} backup
 * @returns whether it is the newest of this device
 */
export function isOwnNewest({ id, timestamp }) {
  const { baseId, lastBackupTime } = client.getBackupStatus();
  return baseId === undefined ? timestamp === lastBackupTime : id === baseId;
}

/** @returns {Promise<string | null>} when what can be undone, and was not dismissed, was done */
export async function offeredUndo() {
  const undo = await client.getUndo();
  if (!undo || undo.dismissed || undo.restoredAt === localStorage.getItem(DISMISSED)) return null;
  return undo.restoredAt;
}

export async function dismissUndo() {
  if (client.dismissUndo) return client.dismissUndo();
  localStorage.setItem(DISMISSED, (await client.getUndo())?.restoredAt ?? '');
}
