/**
 * One record of a backup: its title, its date, and all of it as text, with what differs from here.
 */

import { structuredPatch } from 'diff';

import { element } from './dom.js';
import { momentOf, sizeOf } from './format.js';

/** @typedef {import('../src/index.js').PlannedRecord} Row */
/** @typedef {Record<string, any>} Stored */

/** Letters of a title or a device's name that are shown. */
const LONGEST = 200;

/** Letters of one text that are shown, and milliseconds that comparing it may take. */
const LONGEST_TEXT = 100_000;
const COMPARE = 200;

/** Where a date may stand, as in a restore (src/restore.js). */
const TIMES = ['updatedAt', 'modifiedAt', 'lastModified', 'timestamp', 'createdAt', 'date'];

/** Of this device alone. */
const LOCAL = ['synced', 'audioBlob', 'imageBlob'];

/**
 * What is in a backup is anybody's text, and may be as long as the backup.
 *
 * @param {string} text
 */
export function shortened(text) {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

/** @param {Row} row */
export function titleOf({ key, inBackup }) {
  const { title, name, label, transcript, text } = inBackup;
  const titles = [title, name, label, transcript, text];
  const found = titles.find((it) => typeof it === 'string' && it.trim());
  return shortened(found ?? String(key));
}

/** @param {Stored} record @returns {number} milliseconds since 1970; 0 where none is known */
export function timeOf(record) {
  for (const member of TIMES) {
    const value = record[member];
    const time = typeof value === 'string' ? Date.parse(value) : value;
    // A number may be anything; a date of this page's kind is one that a Date can hold.
    if (typeof time === 'number' && !Number.isNaN(new Date(time).getTime())) return time;
  }
  return 0;
}

/**
 * @param {Row} row
 * @returns {HTMLElement[]}
 */
export function recordDetail({ here, inBackup }) {
  const about = element('dl', {}, ...aboutOf('In the backup', inBackup), ...aboutOf('Here', here));
  const theirs = textsOf(inBackup);
  const ours = here ? textsOf(here) : theirs;
  const names = new Set([...theirs.keys(), ...ours.keys()]);
  const texts = [...names].map((name) => [name, ours.get(name) ?? '', theirs.get(name) ?? '']);
  const differing = texts.some(([, from, to]) => from !== to);
  const legend = element('p', {}, element('small', { text: '− only here, + only in the backup' }));
  return [
    about,
    ...(differing ? [legend] : []),
    ...texts.flatMap(([name, from, to]) => [element('h4', { text: name }), textView(name, from, to)]),
  ];
}

/**
 * @param {string} name
 * @param {Stored | null} record
 */
function aboutOf(name, record) {
  const time = record && timeOf(record);
  const size = record && sizeOf(new Blob([JSON.stringify(record)]).size);
  const words = record ? [time ? momentOf(new Date(time)) : 'no date', size].join(' · ') : 'not here';
  return [element('dt', { text: name }), element('dd', { text: words })];
}

/**
 * Its texts of several lines on their own, by their members' names, and the others as JSON.
 *
 * @param {Stored} record
 * @returns {Map<string, string>}
 */
function textsOf(record) {
  const members = Object.entries(record).filter(([name]) => !LOCAL.includes(name));
  const isText = (/** @type {[string, any]} */ [name, value]) =>
    typeof value === 'string' && (value.includes('\n') || ['code', 'transcript'].includes(name));
  const rest = Object.fromEntries(members.filter((member) => !isText(member)));
  return new Map([...members.filter(isText), ['Details', JSON.stringify(rest, null, 2)]]);
}

/**
 * @param {string} name
 * @param {string} from here
 * @param {string} to in the backup
 */
function textView(name, from, to) {
  const attributes = { tabindex: '0', role: 'region', 'aria-label': name };
  const view = element('pre', attributes);
  const [ours, theirs] = [from, to].map((text) => text.slice(0, LONGEST_TEXT));
  const patch = ours === theirs
    ? null
    : structuredPatch('', '', ours, theirs, '', '', { context: 3, timeout: COMPARE });
  if (patch) {
    for (const [index, { lines }] of patch.hunks.entries()) {
      if (index) view.append(element('span', { text: '⋯\n' }));
      view.append(...lines.filter((line) => line[0] !== '\\').map(lineView));
    }
  } else {
    view.append(theirs);
  }
  if (Math.max(from.length, to.length) > LONGEST_TEXT) view.append('\n… the rest is not shown');
  return view;
}

/** @param {string} line with its sign */
function lineView(line) {
  const sign = line[0].replace('-', '−');
  const names = /** @type {const} */ ({ '+': 'ins', '−': 'del', ' ': 'span' });
  return element(names[/** @type {'+'} */ (sign)], { text: `${sign} ${line.slice(1)}\n` });
}
