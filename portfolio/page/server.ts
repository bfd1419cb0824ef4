/**
 * What the page asks the client for. The client of an earlier release lists everything at once,
 * and knows neither devices nor dismissed undos.
 */

import * as released from '../src/index.js';
import type { Backup } from './series.js';

/** Backups that are asked for at once. */
const PAGE = 500;

const DISMISSED = 'backups-page:dismissed-undo';

const client: any = released;

export const BACKUPS_EVENT = client.BACKUPS_EVENT ?? 'eoe:backups';

type Page = { backups: Backup[]; next: string | null; unreadable: string[] };

/** `before`: what the page before named as `next`; null for the newest. */
export async function listPage(before: string | null): Promise<Page> {
  if (client.listBackupPage) {
    return client.listBackupPage({ limit: PAGE, before: before ?? undefined });
  }
  return { backups: await client.listBackups(), next: null, unreadable: [] };
}

export async function ownDeviceId(): Promise<string | undefined> {
  return client.getDeviceId?.();
}

/** Whether it is the newest of this device. */
export function isOwnNewest({ id, timestamp }: Backup) {
  const { baseId, lastBackupTime } = client.getBackupStatus();
  return baseId === undefined ? timestamp === lastBackupTime : id === baseId;
}

/** When the restore was that can be undone, if that was not dismissed. */
export async function offeredUndo(): Promise<string | null> {
  const undo = await client.getUndo();
  if (!undo || undo.dismissed || undo.restoredAt === localStorage.getItem(DISMISSED)) return null;
  return undo.restoredAt;
}

export async function dismissUndo() {
  if (client.dismissUndo) return client.dismissUndo();
  localStorage.setItem(DISMISSED, (await client.getUndo())?.restoredAt ?? '');
}
