/**
 * Backs up the IndexedDB of an offline-first portfolio to its backup server.
 *
 * Every function throws a `BackupError` when it fails; none answers with an empty list or null
 * instead. What happens by itself is told by the window event `eoe:backup-status`, whose
 * `detail` is what `getBackupStatus()` returns.
 */

export { disableAutoBackup, enableAutoBackup } from './auto-backup.js';
export { createBackup, markAsSynced } from './backup.js';
export { deleteBackup, listBackups } from './backups.js';
export { CATEGORIES } from './categories.js';
export { downloadBackup, readBackup } from './documents.js';
export { BackupError } from './errors.js';
export { getUndo, previewRestore, restoreFromBackup, undoRestore } from './restore.js';
export { configure } from './settings.js';
export { getBackupStatus, STATUS_EVENT } from './status.js';
export { getUnsyncedCount, getUnsyncedSnapshots } from './unsynced.js';
export { notifyChanged } from './watch.js';

/** @typedef {import('./backups.js').Backup} Backup */
/** @typedef {import('./categories.js').Category} Category */
/** @typedef {import('./documents.js').BackupDocument} BackupDocument */
/** @typedef {import('./documents.js').Items} Items */
/** @typedef {import('./documents.js').Source} Source */
/** @typedef {import('./restore.js').PlannedRecord} PlannedRecord */
/** @typedef {import('./restore.js').RestoreOptions} RestoreOptions */
/** @typedef {import('./restore.js').RestoreResult} RestoreResult */
/** @typedef {import('./settings.js').Settings} Settings */
/** @typedef {import('./status.js').BackupStatus} BackupStatus */
/** @typedef {import('./transport.js').Receipt} Receipt */
