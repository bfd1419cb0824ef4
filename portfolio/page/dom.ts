/**
 * What every part of the page is made of: buttons, menus, long lists, and dialogs. Templates are
 * lit-html's, in which what a record says only ever becomes text.
 */

import { html, type TemplateResult } from 'lit-html';

type Press = { currentTarget: HTMLElement };
type Choice = readonly [text: string, chosen: () => unknown];

/** Items that each press of the button of a long list adds. */
const MORE = 100;

/** How many items of a long list are shown, by its name. */
const lengths = new Map<string, number>();

/** A small button, busy until the promise of `onclick`, if any, which must not reject. */
export function smallButton(text: string, onclick: () => unknown, label = text) {
  const press = async ({ currentTarget }: Press) => {
    currentTarget.ariaBusy = 'true';
    await onclick();
    currentTarget.ariaBusy = 'false';
  };
  return html`<button class="outline secondary small" type="button" aria-label=${label}
    @click=${press}>${text}</button>`;
}

export function menuButton(label: string, choices: () => Choice[]) {
  // Before the browser opens the menu: that comes after the listeners.
  const fill = ({ currentTarget }: Press) => {
    const menu = byId('menu', HTMLElement);
    const items = choices().map(([text, chosen], index) => {
      const item = document.createElement('button');
      item.textContent = text;
      item.autofocus = index === 0;
      item.addEventListener('click', () => {
        menu.hidePopover();
        chosen();
      });
      return item;
    });
    menu.replaceChildren(...items);
    const { bottom, right } = currentTarget.getBoundingClientRect();
    menu.style.setProperty('--below', `${bottom}px`);
    menu.style.setProperty('--end', `${document.documentElement.clientWidth - right}px`);
    menu.style.setProperty('--items', String(items.length));
  };
  return html`<button class="more" type="button" popovertarget="menu" aria-label=${label}
    @click=${fill}>⋯</button>`;
}

/** A list that grows by a button: thousands of elements at once would freeze the page. */
export function longList<T>(
  name: string, items: T[], make: (item: T, index: number) => TemplateResult, first: number,
  redraw: () => void,
) {
  const length = lengths.get(name) ?? first;
  const left = items.length - length;
  const more = ({ currentTarget }: Press) => {
    lengths.set(name, length + MORE);
    redraw();
    const item = currentTarget.previousElementSibling?.children[length] as HTMLElement;
    item.tabIndex = -1;
    item.focus();
  };
  const text = `Show ${left > MORE ? `${MORE} of ` : ''}${left.toLocaleString('en')} more`;
  return html`<ul class="records">${items.slice(0, length).map(make)}</ul>
    <button class="outline secondary small" type="button" ?hidden=${left <= 0}
      @click=${more}>${text}</button>`;
}

export function byId<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new TypeError(`#${id} is no ${type.name}`);
  return found;
}

export function setText(id: string, text: string) {
  const place = byId(id, HTMLElement);
  // Written only when it differs, or a screen reader would say it again.
  if (place.textContent !== text) place.textContent = text;
}

/**
 * A dialog with one form. Its buttons with `data-close` close it; `submit` closes it unless it
 * fails, and the reason stays to be read. `closed` is called when the focus has gone back.
 */
export function formDialog(id: string, submit: () => Promise<void>, closed?: () => void) {
  const dialog = byId(id, HTMLDialogElement);
  const form = dialog.querySelector('form') as HTMLFormElement;
  const failure = dialog.querySelector('.failure') as HTMLElement;
  const button = dialog.querySelector('[type=submit]') as HTMLButtonElement;
  const fail = (error: unknown) => {
    failure.textContent = messageOf(error);
    failure.hidden = false;
  };
  for (const closer of dialog.querySelectorAll('[data-close]')) {
    closer.addEventListener('click', () => dialog.close());
  }
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    failure.hidden = true;
    button.disabled = true;
    try {
      await submit();
      dialog.close();
      closed?.();
    } catch (error) {
      fail(error);
    } finally {
      button.disabled = false;
    }
  });
  const open = () => {
    failure.hidden = true;
    button.disabled = false;
    dialog.showModal();
  };
  return { button, fail, open };
}

export function messageOf(error: unknown) {
  return error instanceof Error ? error.message : String(error);
}
