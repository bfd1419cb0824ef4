/** Times, sizes and counts in words: English ones, as the page's own are, by the person's clock. */

import type { Category } from '../src/index.js';

const { hourCycle } = new Intl.DateTimeFormat(undefined, { hour: 'numeric' }).resolvedOptions();
const english = navigator.languages.find((language) => language.startsWith('en')) ?? 'en';
const LOCALE = new Intl.Locale(english, { hourCycle }).toString();

const dates = (options: Intl.DateTimeFormatOptions) => new Intl.DateTimeFormat(LOCALE, options);

const hour = hourCycle === 'h23' ? '2-digit' : 'numeric';
const CLOCK = dates({ hour, minute: '2-digit' });
const SECONDS = dates({ hour, minute: '2-digit', second: '2-digit' });
const DAY = dates({ day: 'numeric', month: 'long' });
const DAY_OF_YEAR = dates({ day: 'numeric', month: 'long', year: 'numeric' });
const WEEKDAY = dates({ weekday: matchMedia('(max-width: 40rem)').matches ? 'short' : 'long' });
const WHOLE_DAY = dates({ weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
const MONTH = dates({ month: 'long', year: 'numeric' });
const SHORT_MONTH = dates({ month: 'short' });
const AGO = new Intl.RelativeTimeFormat(LOCALE, { numeric: 'auto' });

const NUMBER = new Intl.NumberFormat(LOCALE);

const SIZES = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'].map((unit) => {
  const unitDisplay = unit === 'byte' ? 'long' : 'short';
  return new Intl.NumberFormat(LOCALE, {
    style: 'unit', unit, unitDisplay, maximumSignificantDigits: 3,
  });
});

const NAMES: Record<Category, [string, string]> = {
  atoms: ['atom', 'atoms'],
  compositions: ['composition', 'compositions'],
  snapshots: ['snapshot', 'snapshots'],
  voiceNotes: ['voice note', 'voice notes'],
  configOverrides: ['override', 'overrides'],
};

export function capital(text: string) {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

export function categoryName(category: Category) {
  return capital(NAMES[category][1]);
}

/** No line break parts it. */
export function countOf(count: number, category: Category): string {
  return `${NUMBER.format(count)}\u00a0${NAMES[category][count === 1 ? 0 : 1]}`;
}

export function plural(count: number, noun: string) {
  return `${NUMBER.format(count)} ${noun}${count === 1 ? '' : 's'}`;
}

export function sizeOf(bytes: number) {
  const power = bytes < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(bytes) / 3));
  return SIZES[power].format(bytes / 1000 ** power);
}

/** @param text of its amount */
export function signed(difference: number, text: string) {
  return `${difference < 0 ? '−' : '+'}${text}`;
}

export function clockOf(time: Date, withSeconds = false) {
  return (withSeconds ? SECONDS : CLOCK).format(time);
}

/** Such as `Today, 19:12`. */
export function momentOf(time: Date): string {
  return `${dayOf(time, new Date())}, ${clockOf(time)}`;
}

export function dayOf(day: Date, now: Date) {
  const age = daysBetween(day, now);
  if (age === 0 || age === 1) return capital(AGO.format(-age, 'day'));
  return (day.getFullYear() === now.getFullYear() ? DAY : DAY_OF_YEAR).format(day);
}

/** Below a heading that names the month. */
export function dayInMonth(day: Date, now: Date): string {
  return daysBetween(day, now) < 2 ? dayOf(day, now) : `${WEEKDAY.format(day)} ${day.getDate()}`;
}

export const wholeDay = WHOLE_DAY.format;
export const monthOf = MONTH.format;
export const shortMonth = SHORT_MONTH.format;

/** Such as `6 days ago`. */
export function ago(time: Date, now: Date): string {
  const days = daysBetween(time, now);
  const minutes = Math.floor((now.getTime() - time.getTime()) / 60_000);
  if (days > 700) return AGO.format(-Math.round(days / 365), 'year');
  if (days > 60) return AGO.format(-Math.round(days / 30.4), 'month');
  if (days > 0) return AGO.format(-days, 'day');
  if (minutes < 1) return 'just now';
  if (minutes < 60) return AGO.format(-minutes, 'minute');
  return AGO.format(-Math.floor(minutes / 60), 'hour');
}

/** Its local day: `2026-11-17`. */
export function dayKey(time: Date): string {
  const parts = [time.getFullYear(), time.getMonth() + 1, time.getDate()];
  return parts.map((part) => String(part).padStart(2, '0')).join('-');
}

/** Midnights between them, by the local calendar. */
export function daysBetween(earlier: Date, later: Date): number {
  const midnight = (time: Date) => Date.UTC(time.getFullYear(), time.getMonth(), time.getDate());
  return (midnight(later) - midnight(earlier)) / 86_400_000;
}
