/**
 * What the tabs of an origin tell each other. The client before this one understands the first
 * three members, and ignores the last.
 */

/** @import { News } from './types.js' */

export class Tabs {
  /** @type {BroadcastChannel | null} */
  #channel = null;

  /** @param {(news: News) => void} onNews called while listening */
  constructor(onNews) {
    this.onNews = onNews;
  }

  listen() {
    if (this.#channel || typeof BroadcastChannel === 'undefined') return;
    this.#channel = new BroadcastChannel('eoe-cloud-backup');
    this.#channel.onmessage = ({ data }) => this.onNews(data);
  }

  stop() {
    this.#channel?.close();
    this.#channel = null;
  }

  /** @param {News} news */
  tell(news) {
    const wasListening = this.#channel !== null;
    this.listen();
    this.#channel?.postMessage(news);
    if (!wasListening) this.stop();
  }
}
