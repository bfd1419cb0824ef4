/**
 * The shapes that several modules know. Times are ISO 8601 by the server's clock, sizes are bytes.
 */

export type { Client } from './client.js';
export type { Pending } from './pending.js';
export type { Stores } from './stores.js';

export type Category = 'atoms' | 'compositions' | 'snapshots' | 'voiceNotes' | 'configOverrides';
export type StoredRecord = Record<string, any>;
export type Reference = { category: Category; key: IDBValidKey };
export type Counts = Record<Category, number>;

export interface Settings {
  /** Where `/api/backup` starts: `''` for this origin, else `https://host` or `/prefix`. */
  baseUrl: string;
  /**
   * The host application's connection to `eoe-atoms` (an IDBDatabase, or idb's wrapping of one).
   * Writes through it are noticed at once. Without it the existing database is opened, at
   * whatever version it has.
   */
  getDB: (() => Promise<any>) | undefined;
  /** Sent as `Authorization: Bearer`. */
  token: string | undefined;
  /** What this device is called; sent along with each backup. */
  device: string | undefined;
  /**
   * An attempt fails when nothing moved for so many milliseconds; an upload that was handed over
   * gets another second for each 32 KiB before its answer is due.
   */
  timeoutMs: number;
}

/** One record as it is stored. */
export interface Entry extends Reference {
  /** See `recordName`. */
  name: string;
  /** What is sent; null if there is no such record, or `error`. */
  json: string | null;
  /** Of what is compared; null if there is no such record. */
  digest: string | null;
  /** Its `synced`; null where the store has no such flag. */
  flag: boolean | null;
  /** Why it can't be sent. */
  error?: Error;
}

/** The server's answer to a stored backup. */
export type Receipt = { id: string; timestamp: string; size: number; counts: Counts };

/** `since`: when these contents were first backed up. */
export type Known = { digest: string; since: string };

/** What the client's own database keeps of the base, the newest backup of this device. */
export interface State {
  deviceId: string;
  base: { receipt: Receipt } | null;
  /** null: the base is the newest; else the id that the server listed instead, '' for none. */
  lost: string | null;
  /** By record name: what is in the base; while that is lost, what was, for its `since`. */
  known: Map<string, Known>;
  /** What answered the last lost base. */
  whole?: Whole;
}

export type Head = Omit<State, 'known'>;

/** What is to be stored. */
export interface Upload {
  /** The parameter of `POST /api/backup`, see openapi.yaml. */
  key: string;
  /** The id of the backup that this changes; null: this is everything. */
  base: string | null;
  entries: Entry[];
  /** Of what the server is to store. */
  counts: Counts;
}

/** What a run does, besides sending what is pending. */
export interface Task {
  /** Whether it may send anything; by default as the schedule says. */
  send?: boolean;
  /** Asks for the newest backup first. */
  verify?: boolean;
  /** Reads the stores, also if all writes of pages with this client were seen. */
  scan?: boolean;
  /** What is pending waits for its own time, unless the base is lost or the server was away. */
  wait?: boolean;
  /** Sends also where nothing differs from the base. */
  force?: boolean;
  /** Backs up all that is stored, unless a backup after the one with this id has it. */
  everything?: string;
}

/** The contents of the whole backup that answered the last lost base, and when. */
export type Whole = { contents: string; at: number };

/** Messages between the tabs of an origin; the client before this one knows all but `sent`. */
export interface News {
  written?: Reference[];
  /** Something was written, and nobody knows what. */
  unseen?: boolean;
  /** What the server has, or what is remembered of it, has changed. */
  remembered?: boolean;
  /** Left without an answer that can be read. */
  sent?: Upload;
}

/** `record`: null where it was deleted. */
export type Write = Reference & { record: StoredRecord | null };

/**
 * Called as a transaction completes, before the host's own listeners are, with its writes in their
 * order, and whether it may also have written something that is not among them.
 */
export type WriteListener = (writes: Write[], unseen: boolean) => void;

/** One record to write, or to delete where `record` is null, if its digest still is `expected`. */
export type Change = Write & { expected: string | null };

export interface Undo {
  /** What was restored. */
  backupId: string;
  restoredAt: string;
  /** What brings back the state before. */
  changes: Change[];
  dismissed?: boolean;
}

/** An entry of the server's list. */
export interface Backup extends Receipt {
  clientTimestamp: string;
  deviceId: string | null;
  device: string | null;
  /** What is wrong with the entry; then that member is empty, 0, or out of the id. */
  problem: string | null;
}

export interface BackupPage {
  /** Newest first. */
  backups: Backup[];
  /** What to give as `before` for the page after this one. */
  next: string | null;
  /** What is wrong with each entry that has no id. */
  unreadable: string[];
}

/** By category all of it, or the records with these keys. */
export type Items = Partial<Record<Category, boolean | IDBValidKey[]>> | Category[];

/** What the server stores, and what a downloaded file holds. */
export interface BackupDocument {
  id: string;
  timestamp: string;
  clientTimestamp?: string;
  version?: number;
  deviceId?: string;
  device?: string;
  /** All categories, and what else the client sent: an earlier one sent `device` here. */
  data: Record<Category, StoredRecord[]> & { device?: unknown };
}

/** The id of a backup, a file, or what `readBackup` returned. */
export type Source = string | Blob | BackupDocument;

/** What is to be restored. */
export type Part = { id: string; timestamp: string; data: Partial<BackupDocument['data']> };

export interface PlannedRecord extends Reference {
  /** `conflict`: it is newer here. */
  action: 'add' | 'replace' | 'conflict' | 'same';
  /** The record, null where there is none. */
  here: StoredRecord | null;
  inBackup: StoredRecord;
}

/** `record` is what would be stored, under `target`. */
export type Planned = PlannedRecord & { record: StoredRecord; target: IDBValidKey };

export type Choice = 'keep' | 'replace';

export interface RestoreOptions {
  /** What becomes of a record that is newer here; `keep` by default. */
  conflicts?: Choice | ((record: PlannedRecord) => Choice | Promise<Choice>);
}

/** References are those in the backup; `kept` are newer here. */
export interface RestoreResult {
  id: string;
  added: Reference[];
  replaced: Reference[];
  kept: Reference[];
  same: Reference[];
}

export interface BackupStatus {
  /** `success` after a backup from here, for as long as nothing differs from it. */
  status: 'idle' | 'backing-up' | 'success' | 'error';
  /** Of the base; null while there is none. */
  lastBackupTime: string | null;
  /** Why the last try failed; stays until one succeeds. */
  lastError: string | null;
  /** Of the upload, 0 to 1; null while there is none. */
  progress: number | null;
  /** Records added, edited or deleted since the base; null until it has been counted. */
  unsyncedCount: number | null;
  /** Records in the five stores; null like `unsyncedCount`. */
  storedCount: number | null;
  baseId: string | null;
  /** Records in the base. */
  baseCount: number | null;
  /** Whether the server, when it was last asked, had the base as this device's newest backup. */
  verified: boolean;
  /** Whether the server answered; null from a start or return to the next answer. */
  reached: boolean | null;
  /** Why something that is pending waits. */
  note: string | null;
}
