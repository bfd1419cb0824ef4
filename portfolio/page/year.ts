/** A year of days, a column a week: the darker, the more backups. A press on a day goes there. */

import { html, render } from 'lit-html';

import { byId } from './dom.js';
import { dayKey, daysBetween, plural, shortMonth, wholeDay } from './format.js';
import type { Entry } from './series.js';

const WEEKS = 53;

const root = byId('year', HTMLElement);

/** Of entries, newest first; `complete`: there are no earlier ones. */
export function showYear(entries: Entry[], complete: boolean, go: (day: string) => void) {
  const isFirst = root.hidden;
  root.hidden = entries.length === 0;
  if (!entries.length) return;
  const days = daysUntil(new Date());
  const perDay = Map.groupBy(entries, ({ day }) => day);
  const counts = days.map((day) => perDay.get(dayKey(day))?.length ?? 0);
  const known = complete || entries[entries.length - 1].time < days[0];
  // One month that would run into the edge is not named.
  const firsts = days.flatMap((day, index) => (day.getDate() === 1 && index < 355 ? [index] : []));
  render(html`
    <div class="scroll">
      <div class="months" aria-hidden="true">${firsts.map((index) => html`
        <span .style=${`--week: ${Math.floor(index / 7) + 1}`}>${shortMonth(days[index])}</span>`)}
      </div>
      <div class="cells" role="toolbar" aria-label="Days with backups" @keydown=${move}>
        ${cells(days, counts, go)}
      </div>
    </div>
    <figcaption>${known ? captionOf(days, counts) : 'Reading earlier ones…'}</figcaption>`, root);
  if (isFirst) root.children[0].scrollLeft = 10_000;
}

/** From the first day of a week on. */
function daysUntil(now: Date) {
  const count = (WEEKS - 1) * 7 + ((now.getDay() + 6) % 7) + 1;
  return Array.from({ length: count }, (_, index) => {
    return new Date(now.getFullYear(), now.getMonth(), now.getDate() - (count - 1 - index));
  });
}

function cells(days: Date[], counts: number[], go: (day: string) => void) {
  const highest = Math.max(2, ...counts);
  const last = counts.findLastIndex(Boolean);
  return days.map((day, index) => {
    const count = counts[index];
    if (!count) return html`<span></span>`;
    const much = 30 + (70 * Math.log(count)) / Math.log(highest);
    const label = `${wholeDay(day)}, ${plural(count, 'backup')}`;
    return html`<button type="button" title=${label} aria-label=${label}
      .style=${`--much: ${much}%`} tabindex=${index === last ? 0 : -1}
      @click=${() => go(dayKey(day))}></button>`;
  });
}

/** One of the days is reached by Tab, the others from there by arrows. */
function move(event: KeyboardEvent & { currentTarget: HTMLElement }) {
  const buttons = [...event.currentTarget.querySelectorAll('button')];
  const at = buttons.findIndex((button) => button === event.target);
  const [back, on, end] = [at - 1, at + 1, buttons.length - 1];
  const keys = { ArrowLeft: back, ArrowUp: back, ArrowRight: on, ArrowDown: on, Home: 0, End: end };
  const next = buttons[keys[event.key as keyof typeof keys]];
  if (!next) return;
  event.preventDefault();
  buttons[at].tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function captionOf(days: Date[], counts: number[]) {
  const active = days.filter((_, index) => counts[index]);
  if (!active.length) return 'No backups in the last year';
  const today = days[days.length - 1];
  const gaps = active.map((day, index) => daysBetween(day, active[index + 1] ?? today) - 1);
  const longest = Math.max(...gaps);
  const sum = counts.reduce((total, count) => total + count, 0);
  const text = `${plural(sum, 'backup')} on ${plural(active.length, 'day')} of the last year`;
  const after = active[gaps.indexOf(longest)];
  if (longest < 1) return text;
  return `${text}; longest gap ${plural(longest, 'day')}, after ${wholeDay(after)}`;
}
