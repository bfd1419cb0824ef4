/**
 * What is on this device: the atoms, to be added and edited.
 */

import { byId, element, formDialog } from './dom.js';
import { allAtoms, saveAtom } from './store.js';

/** @typedef {import('./store.js').Atom} Atom */

const list = byId('atom-list', HTMLUListElement);
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
  list.replaceChildren(...(atoms.length ? atoms.map(item) : [nothing()]));
  for (const button of list.querySelectorAll('button')) {
    if (focused !== undefined && button.dataset.slug === focused) button.focus();
  }
}

/** @param {Atom} atom */
function item(atom) {
  const name = String(atom.title ?? atom.slug);
  const button = element('button', {
    type: 'button',
    class: 'quiet small',
    text: 'Edit',
    'aria-label': `Edit ${name}`,
    'data-slug': atom.slug,
    onclick: () => edit(atom),
  });
  const detail = [atom.stage, atom.date].filter(Boolean).join(' · ');
  return element(
    'li',
    {},
    element('span', { class: 'atom-title', text: name }),
    element('span', { class: 'atom-detail', text: detail }),
    button,
  );
}

function nothing() {
  return element('li', { class: 'empty', text: 'Nothing yet. What you add is kept here first.' });
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
