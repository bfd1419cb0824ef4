/**
 * Tells the other tabs of this origin that what is stored, or known to be backed up, changed.
 */

/** @type {BroadcastChannel | null} */
let channel = null;

/** @type {(() => void) | null} */
let heard = null;

function open() {
  if (typeof BroadcastChannel === 'undefined') return;
  channel ??= new BroadcastChannel('eoe-cloud-backup');
  channel.onmessage = () => heard?.();
}

export function announce() {
  open();
  channel?.postMessage('changed');
}

/** @param {(() => void) | null} listener null ends it */
export function onAnnouncement(listener) {
  heard = listener;
  if (listener) open();
  else {
    channel?.close();
    channel = null;
  }
}
