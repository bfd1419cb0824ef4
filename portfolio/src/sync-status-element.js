/**
 * `<sync-status>`: one line that says whether everything is backed up. What does not fit into the
 * line is shown beside it on a press. Font and text colour are the page's; README.md has the rest.
 */

import { client } from './client.js';
import { describeStatus, STATUS_EVENT } from './status.js';

/** Outlines in a square of 24; each state has a shape of its own, not only a colour. */
const ICONS = {
  checking: 'M12 3v5M12 16v5M3 12h5M16 12h5M5.6 5.6l3.5 3.5M14.9 14.9l3.5 3.5',
  'backing-up': 'M12 19V6M6.5 11.5 12 6l5.5 5.5M5 21.5h14',
  error: 'M12 4 2.8 20h18.4zM12 10v4.5M12 17.2v.3',
  offline: 'M4 4l16 16M8.6 8.7A5.5 5.5 0 0 0 7.5 19h10M19.6 17.4A4 4 0 0 0 17 11a6 6 0 0 0-5.6-4',
  unsynced: 'M12 7v5.5l3.5 2M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17z',
  empty: 'M5 12h14',
  emptied: 'M5 12h14M12 5v.3M12 19v.3',
  unverified: 'M4.5 13.5l3.5 3.5L16 8.5M19 4v6M19 13.5v.3',
  'backed-up': 'M4.5 12.5l5 5L19.5 7',
};

const STYLE = `
  :host { display: inline-flex; align-items: center; gap: .5em; min-width: 0; max-width: 100%;
    --good: var(--sync-good, light-dark(#14713d, #6fdc9b));
    --busy: var(--sync-busy, light-dark(#2459b8, #93b8ff));
    --wait: var(--sync-wait, light-dark(#8a5a00, #e9b65c));
    --bad: var(--sync-bad, light-dark(#b3261e, #ff9a90)); }
  :host([hidden]) { display: none; }
  svg { flex: none; width: 1.25em; height: 1.25em; fill: none; stroke: currentColor;
    stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
  .text { min-width: 0; padding: 0; border: 0; overflow: hidden; background: none; color: inherit;
    font: inherit; text-align: start; text-overflow: ellipsis; white-space: nowrap; }
  .text:enabled { cursor: pointer; }
  .text:focus-visible { outline: 2px solid; outline-offset: 2px; border-radius: 2px; }
  .rest { --width: min(26rem, 100vw - 1rem); inset: auto; top: var(--below); box-sizing: border-box;
    left: max(.5rem, min(var(--start), 100vw - var(--width) - .5rem)); max-width: var(--width);
    margin: .4em 0; padding: .6em .9em; border: 1px solid; border-radius: .4em; font: inherit;
    overflow-wrap: anywhere; }
  progress { flex: none; width: 5em; height: .45em; accent-color: var(--busy); }
  progress[hidden] { display: none; }
  :host([data-state='backed-up']) svg { color: var(--good); }
  :host([data-state='backing-up']) svg { color: var(--busy); }
  :host(:is([data-state='unsynced'], [data-state='offline'], [data-state='unverified'],
    [data-state='emptied'])) svg { color: var(--wait); }
  :host([data-state='error']) svg { color: var(--bad); }
  @media (prefers-reduced-motion: no-preference) {
    :host([data-state='backing-up']) svg { animation: rise 1.2s ease-in-out infinite alternate; }
  }
  @media (forced-colors: active) {
    svg { color: CanvasText !important; }
    progress { forced-color-adjust: auto; }
  }
  @keyframes rise { from { transform: translateY(.12em); } to { transform: translateY(-.12em); } }
`;

const Base = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {});

export class SyncStatusElement extends Base {
  /** @type {AbortController | null} */
  #connected = null;

  /** @type {ReturnType<typeof build> | null} */
  #parts = null;

  connectedCallback() {
    const parts = (this.#parts ??= build(this));
    if (!this.hasAttribute('role')) this.setAttribute('role', 'status');
    this.#connected = new AbortController();
    const { signal } = this.#connected;
    const render = () => this.#render(parts);
    for (const type of [STATUS_EVENT, 'online', 'offline']) {
      window.addEventListener(type, render, { signal });
    }
    render();
    const resized = new ResizeObserver(() => pressable(parts.text));
    resized.observe(parts.text);
    signal.addEventListener('abort', () => resized.disconnect());
    client().watch(signal);
  }

  disconnectedCallback() {
    this.#connected?.abort();
  }

  /** @param {ReturnType<typeof build>} parts */
  #render({ path, text, progress }) {
    const status = client().status.current;
    const { state, text: words } = describeStatus(status);
    if (this.dataset.state !== state) {
      this.dataset.state = state;
      path.setAttribute('d', ICONS[state]);
    }
    progress.hidden = state !== 'backing-up';
    progress.value = status.progress ?? 0;
    // Written only when it differs, or a screen reader would say it again at each event.
    if (text.textContent === words) return;
    text.textContent = words;
    pressable(text);
  }
}

/** @param {HTMLElement} host */
function build(host) {
  const root = host.attachShadow({ mode: 'open' });
  // Not a <style> element: a page may forbid those, and this needs no permission.
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  svg.append(path);
  const rest = document.createElement('div');
  Object.assign(rest, { className: 'rest', part: 'rest', popover: 'auto' });
  const text = document.createElement('button');
  Object.assign(text, { className: 'text', part: 'text', popoverTargetElement: rest });
  text.type = 'button';
  rest.addEventListener('beforetoggle', () => {
    rest.textContent = text.textContent;
    const { left, bottom } = text.getBoundingClientRect();
    rest.style.setProperty('--start', `${left}px`);
    rest.style.setProperty('--below', `${bottom}px`);
  });
  const progress = document.createElement('progress');
  progress.setAttribute('aria-label', 'Backup progress');
  root.append(svg, text, rest, progress);
  return { path, text, progress };
}

/** @param {HTMLButtonElement} text can be pressed only while the line has no room for all of it */
function pressable(text) {
  text.disabled = text.scrollWidth <= text.clientWidth;
}
