/**
 * Times, sizes and counts in words: English ones, as the page's own are, by the person's clock.
 */

/** @typedef {import('../src/index.js').Category} Category */

const { hourCycle } = new Intl.DateTimeFormat(undefined, { hour: 'numeric' }).resolvedOptions();
const english = navigator.languages.find((language) => language.startsWith('en')) ?? 'en';
const LOCALE = new Intl.Locale(english, { hourCycle }).toString();

/** @param {Intl.DateTimeFormatOptions} options */
const dates = (options) => new Intl.DateTimeFormat(LOCALE, options);

const CLOCK = dates({ hour: 'numeric', minute: '2-digit' });
const SECONDS = dates({ hour: 'numeric', minute: '2-digit', second: '2-digit' });
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

/** @type {Record<Category, [string, string]>} */
const NAMES = {
  atoms: ['atom', 'atoms'],
  compositions: ['composition', 'compositions'],
  snapshots: ['snapshot', 'snapshots'],
  voiceNotes: ['voice note', 'voice notes'],
  configOverrides: ['override', 'overrides'],
};

/** @param {string} text */
export function capital(text) {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

/** @param {Category} category */
export function categoryName(category) {
  return capital(NAMES[category][1]);
}

/**
 * @param {number} count
 * @param {Category} category
 * @returns {string} that no line break parts
 */
export function countOf(count, category) {
  return `${NUMBER.format(count)}\u00a0${NAMES[category][count === 1 ? 0 : 1]}`;
}

/**
 * @param {number} count
 * @param {string} noun
 */
export function plural(count, noun) {
  return `${NUMBER.format(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** @param {number} bytes */
export function sizeOf(bytes) {
  const power = bytes < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(bytes) / 3));
  return SIZES[power].format(bytes / 1000 ** power);
}

/** @param {number} difference @param {string} text of its amount */
export function signed(difference, text) {
  return `${difference < 0 ? '−' : '+'}${text}`;
}

/**
 * @param {Date} time
 * @param {boolean} [withSeconds]
 */
export function clockOf(time, withSeconds = false) {
  return (withSeconds ? SECONDS : CLOCK).format(time);
}

/** @param {Date} time @returns {string} such as `Today, 19:12` */
export function momentOf(time) {
  return `${dayOf(time, new Date())}, ${clockOf(time)}`;
}

/**
 * @param {Date} day
 * @param {Date} now
 */
export function dayOf(day, now) {
  const age = daysBetween(day, now);
  if (age === 0 || age === 1) return capital(AGO.format(-age, 'day'));
  return (day.getFullYear() === now.getFullYear() ? DAY : DAY_OF_YEAR).format(day);
}

/** @param {Date} day @param {Date} now @returns {string} below a heading that names the month */
export function dayInMonth(day, now) {
  return daysBetween(day, now) < 2 ? dayOf(day, now) : `${WEEKDAY.format(day)} ${day.getDate()}`;
}

/** @param {Date} day */
export function wholeDay(day) {
  return WHOLE_DAY.format(day);
}

/** @param {Date} day */
export function monthOf(day) {
  return MONTH.format(day);
}

/** @param {Date} day */
export function shortMonth(day) {
  return SHORT_MONTH.format(day);
}

/** @param {Date} time @param {Date} now @returns {string} such as `6 days ago` */
export function ago(time, now) {
  const days = daysBetween(time, now);
  const minutes = Math.floor((now.getTime() - time.getTime()) / 60_000);
  if (days > 700) return AGO.format(-Math.round(days / 365), 'year');
  if (days > 60) return AGO.format(-Math.round(days / 30.4), 'month');
  if (days > 0) return AGO.format(-days, 'day');
  if (minutes < 1) return 'just now';
  return minutes < 60 ? AGO.format(-minutes, 'minute') : AGO.format(-Math.floor(minutes / 60), 'hour');
}

/** @param {Date} time @returns {string} its local day, `2026-11-17` */
export function dayKey(time) {
  const parts = [time.getFullYear(), time.getMonth() + 1, time.getDate()];
  return parts.map((part) => String(part).padStart(2, '0')).join('-');
}

/**
 * @param {Date} earlier
 * @param {Date} later
 * @returns {number} midnights between them, by the local calendar
 */
export function daysBetween(earlier, later) {
  const midnight = (/** @type {Date} */ time) =>
    Date.UTC(time.getFullYear(), time.getMonth(), time.getDate());
  return (midnight(later) - midnight(earlier)) / 86_400_000;
}
