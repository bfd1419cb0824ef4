/**
 * One record of a backup: its title, its date, and all of it as text, with what differs from here.
 */

import { structuredPatch } from 'diff';
import { html, nothing } from 'lit-html';

import { momentOf, sizeOf } from './format.js';
import type { PlannedRecord as Row } from '../src/index.js';

type Stored = Record<string, any>;

/** Letters of a title or a device's name that are shown. */
const LONGEST = 200;

/** Letters of one text that are shown, and milliseconds that comparing it may take. */
const LONGEST_TEXT = 100_000;
const COMPARE = 200;

/** Where a date may stand, as in a restore (src/restore.js). */
const TIMES = ['updatedAt', 'modifiedAt', 'lastModified', 'timestamp', 'createdAt', 'date'];

/** Of this device alone. */
const LOCAL = ['synced', 'audioBlob', 'imageBlob'];

/** What is in a backup is anybody's text, and may be as long as the backup. */
export function shortened(text: string) {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

export function titleOf({ key, inBackup }: Row) {
  const { title, name, label, transcript, text } = inBackup;
  const titles = [title, name, label, transcript, text];
  const found = titles.find((it) => typeof it === 'string' && it.trim());
  return shortened(found ?? String(key));
}

/** Milliseconds since 1970; 0 where none is known. */
export function timeOf(record: Stored) {
  for (const member of TIMES) {
    const value = record[member];
    const time = typeof value === 'string' ? Date.parse(value) : value;
    // A number may be anything; a date is a number that a Date can hold.
    if (typeof time === 'number' && !Number.isNaN(new Date(time).getTime())) return time;
  }
  return 0;
}

export function recordView({ here, inBackup }: Row) {
  const theirs = textsOf(inBackup);
  const ours = here ? textsOf(here) : theirs;
  const names = [...new Set([...theirs.keys(), ...ours.keys()])];
  const texts = names.map((name) => [name, ours.get(name) ?? '', theirs.get(name) ?? '']);
  const legend = html`<p><small>− only here, + only in the backup</small></p>`;
  return html`<div class="detailed">
    <p><small>In the backup:</small> ${aboutOf(inBackup)}</p>
    <p><small>Here:</small> ${here ? aboutOf(here) : 'not here'}</p>
    ${texts.some(([, from, to]) => from !== to) ? legend : nothing}
    ${texts.map(([name, from, to]) => html`<h4>${name}</h4>${textView(name, from, to)}`)}
  </div>`;
}

function aboutOf(record: Stored) {
  const time = timeOf(record);
  const size = sizeOf(new Blob([JSON.stringify(record)]).size);
  return `${time ? momentOf(new Date(time)) : 'no date'} · ${size}`;
}

/** Its texts of several lines on their own, by their members' names, and the others as JSON. */
function textsOf(record: Stored) {
  const members = Object.entries(record).filter(([name]) => !LOCAL.includes(name));
  const isText = ([name, value]: [string, any]) =>
    typeof value === 'string' && (value.includes('\n') || ['code', 'transcript'].includes(name));
  const rest = Object.fromEntries(members.filter((member) => !isText(member)));
  const details = JSON.stringify(rest, null, 2);
  return new Map<string, string>([...members.filter(isText), ['Details', details]]);
}

/** From what is here to what is in the backup. */
function textView(name: string, from: string, to: string) {
  const [ours, theirs] = [from, to].map((text) => text.slice(0, LONGEST_TEXT));
  const options = { context: 3, timeout: COMPARE };
  const patch = ours === theirs ? null : structuredPatch('', '', ours, theirs, '', '', options);
  const cut = Math.max(from.length, to.length) > LONGEST_TEXT ? '\n… the rest is not shown' : '';
  const lines = patch?.hunks.map((hunk) => hunk.lines.map(lineView)) ?? theirs;
  return html`<pre tabindex="0" role="region" aria-label=${name}>${lines}${cut}</pre>`;
}

/** A line with its sign. */
function lineView(line: string) {
  const text = `${line.slice(1)}\n`;
  if (line[0] === '+') return html`<ins>+ ${text}</ins>`;
  if (line[0] === '-') return html`<del>− ${text}</del>`;
  // "\ No newline at end of file"
  return line[0] === ' ' ? `  ${text}` : nothing;
}
