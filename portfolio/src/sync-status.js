/**
 * Registers `<sync-status>`. Does nothing on a server, where there are no elements.
 */

import { SyncStatusElement } from './sync-status-element.js';

export { SyncStatusElement };

if (globalThis.customElements && !customElements.get('sync-status')) {
  customElements.define('sync-status', SyncStatusElement);
}
