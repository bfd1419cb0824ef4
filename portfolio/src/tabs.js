/**
 * Tells the other tabs of this origin what was written here, and that what is remembered changed.
 */

/**
 * @typedef {object} News
 * @property {import('./database.js').Reference[]} [written] these records
 * @property {boolean} [unseen] something was written, and nobody knows what
 * @property {boolean} [remembered] what the client's own database holds has changed
 */

/** @type {BroadcastChannel | null} */
let channel = null;

/** @type {((news: News) => void) | null} */
let heard = null;

function open() {
  if (typeof BroadcastChannel === 'undefined') return;
  channel ??= new BroadcastChannel('eoe-cloud-backup');
  channel.onmessage = ({ data }) => heard?.(data);
}

/** @param {News} news */
export function announce(news) {
  open();
  channel?.postMessage(news);
}

/** @param {((news: News) => void) | null} listener null ends it */
export function onAnnouncement(listener) {
  heard = listener;
  if (listener) open();
  else {
    channel?.close();
    channel = null;
  }
}
