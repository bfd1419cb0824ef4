/**
 * What is on this device: the atoms, to be added and edited.
 */

import { byId, element, formDialog, longList, smallButton } from './dom.js';
import { allAtoms, saveAtom } from './store.js';

/** @typedef {import('./store.js').Atom} Atom */

/** Atoms that are shown at once. */
const FIRST = 12;

const list = byId('atom-list', HTMLDivElement);
const form = byId('atom-form', HTMLFormElement);

/** @type {Atom | null} */
let edited = null;

const dialog = formDialog('atom-dialog', async () => {
  const fields = Object.fromEntries(new FormData(form));
  await saveAtom(edited, /** @type {{title: string, stage: string, code: string}} */ (fields));
  await showAtoms();
});

export function startAtoms() {
  byId('add-atom', HTMLButtonElement).addEventListener('click', () => edit(null));
  void showAtoms();
}

export async function showAtoms() {
  const atoms = await allAtoms();
  const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset.slug;
  const shown = Math.max(FIRST, list.querySelectorAll('li').length);
  list.replaceChildren(...(atoms.length ? longList(atoms, item, shown) : [nothing()]));
  for (const button of list.querySelectorAll('button')) {
    if (focused !== undefined && button.dataset.slug === focused) button.focus();
  }
}

/** @param {Atom} atom */
function item(atom) {
  const name = String(atom.title ?? atom.slug);
  const button = smallButton('Edit', () => edit(atom), `Edit ${name}`);
  button.dataset.slug = atom.slug;
  const detail = [atom.stage, atom.date].filter(Boolean).join(' · ');
  return element(
    'li',
    {},
    element('p', {}, element('b', { text: name }), element('br'), element('small', { text: detail })),
    button,
  );
}

function nothing() {
  return element('p', { text: 'Nothing yet. What you add is kept here first.' });
}

/** @param {Atom | null} atom null: a new one */
function edit(atom) {
  edited = atom;
  byId('atom-dialog-title', HTMLHeadingElement).textContent = atom ? 'Edit the atom' : 'A new atom';
  byId('atom-title', HTMLInputElement).value = atom?.title ?? '';
  byId('atom-stage', HTMLSelectElement).value = atom?.stage ?? 'idea';
  byId('atom-code', HTMLTextAreaElement).value = atom?.code ?? '';
  dialog.open();
}
