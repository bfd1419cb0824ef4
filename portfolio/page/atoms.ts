/** What is on this device: the atoms, to be added and edited. */

import { html, render } from 'lit-html';

import { byId, formDialog, longList, smallButton } from './dom.js';
import { type Atom, allAtoms, saveAtom } from './store.js';

/** Atoms that are shown at once. */
const FIRST = 12;

const form = byId('atom-form', HTMLFormElement);

let atoms: Atom[] = [];
let edited: Atom | null = null;

const dialog = formDialog('atom-dialog', async () => {
  const fields = Object.fromEntries(new FormData(form));
  await saveAtom(edited, fields as Record<'title' | 'stage' | 'code', string>);
  await showAtoms();
});

export function startAtoms() {
  byId('atoms', HTMLElement).hidden = false;
  byId('add-atom', HTMLButtonElement).addEventListener('click', () => edit(null));
  void showAtoms();
}

export async function showAtoms() {
  atoms = await allAtoms();
  draw();
}

function draw() {
  const nothing = html`<p>Nothing yet. What you add is kept here first.</p>`;
  const list = longList('atoms', atoms, item, FIRST, draw);
  render(atoms.length ? list : nothing, byId('atom-list', HTMLElement));
}

function item(atom: Atom) {
  const name = String(atom.title ?? atom.slug);
  const detail = [atom.stage, atom.date].filter(Boolean).join(' · ');
  const button = smallButton('Edit', () => edit(atom), `Edit ${name}`);
  return html`<li><p><b>${name}</b><br /><small>${detail}</small></p>${button}</li>`;
}

/** @param atom null: a new one */
function edit(atom: Atom | null) {
  edited = atom;
  byId('atom-dialog-title', HTMLHeadingElement).textContent = atom ? 'Edit the atom' : 'A new atom';
  byId('atom-title', HTMLInputElement).value = atom?.title ?? '';
  byId('atom-stage', HTMLSelectElement).value = atom?.stage ?? 'idea';
  byId('atom-code', HTMLTextAreaElement).value = atom?.code ?? '';
  dialog.open();
}
