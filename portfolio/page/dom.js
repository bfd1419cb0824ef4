/**
 * Elements without markup: what a record says only ever becomes text.
 */

/** Items that each press of the button of a long list adds. */
const MORE = 100;

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, string | boolean>} [attributes] `text` is its text, `true` an attribute
 *   without a value, `false` none
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (attribute === 'text') made.textContent = String(value);
    else if (typeof value === 'boolean') made.toggleAttribute(attribute, value);
    else made.setAttribute(attribute, value);
  }
  made.append(...children);
  return made;
}

/**
 * A small button, busy for as long as what it does takes.
 *
 * @param {string} text
 * @param {() => unknown} onclick may return a promise, which must not reject
 * @param {string} [label] its name where the text alone does not tell what it is about
 */
export function smallButton(text, onclick, label) {
  const button = element('button', { type: 'button', class: 'outline secondary small', text });
  button.addEventListener('click', async () => {
    button.ariaBusy = 'true';
    await onclick();
    button.ariaBusy = 'false';
  });
  if (label) button.ariaLabel = label;
  return button;
}

/**
 * A button that shows and hides what it stands for, which is made at the first showing.
 *
 * @param {HTMLButtonElement} button
 * @param {() => HTMLElement[]} make
 * @param {boolean} isOpen
 * @param {(isOpen: boolean) => void} [toggled]
 * @returns {HTMLElement} to be placed after the button
 */
export function disclosure(button, make, isOpen, toggled) {
  const content = element('div', { class: 'disclosed' });
  const show = (/** @type {boolean} */ on) => {
    if (on && !content.children.length) content.append(...make());
    content.hidden = !on;
    button.ariaExpanded = String(on);
  };
  button.addEventListener('click', () => {
    const on = Boolean(content.hidden);
    show(on);
    toggled?.(on);
  });
  show(isOpen);
  return content;
}

/** @typedef {readonly [text: string, chosen: () => unknown]} Choice */

/**
 * A button with a menu, which is made when it is opened.
 *
 * @param {string} label
 * @param {string} key that tells where the focus was, when the list is drawn again
 * @param {() => Choice[]} choices
 */
export function menuButton(label, key, choices) {
  const attributes = { type: 'button', class: 'more', 'aria-label': label, 'data-key': key };
  const button = element('button', { ...attributes, text: '⋯' });
  const menu = byId('menu', HTMLDivElement);
  button.popoverTargetElement = menu;
  // Before the browser opens it: that comes after the listeners.
  button.addEventListener('click', () => {
    const items = choices().map(([text, chosen], index) => {
      const item = element('button', { type: 'button', autofocus: index === 0 }, text);
      item.addEventListener('click', () => {
        menu.hidePopover();
        chosen();
      });
      return item;
    });
    menu.replaceChildren(...items);
    const { bottom, right } = button.getBoundingClientRect();
    menu.style.setProperty('--below', `${bottom}px`);
    menu.style.setProperty('--end', `${document.documentElement.clientWidth - right}px`);
    menu.style.setProperty('--items', String(items.length));
  });
  return button;
}

/**
 * A list that grows by a button: thousands of elements at once would freeze the page.
 *
 * @template T
 * @param {T[]} items
 * @param {(item: T) => HTMLLIElement} make
 * @param {number} first items that are shown at once
 * @returns {HTMLElement[]} the list and its button
 */
export function longList(items, make, first) {
  const list = element('ul', { class: 'records' });
  const button = smallButton('', () => {
    const next = list.children.length;
    grow(MORE);
    const item = /** @type {HTMLLIElement} */ (list.children[next]);
    item.tabIndex = -1;
    item.focus();
  });
  const grow = (/** @type {number} */ count) => {
    const shown = list.children.length;
    list.append(...items.slice(shown, shown + count).map(make));
    const left = items.length - list.children.length;
    const some = left > MORE ? `${MORE} of ` : '';
    button.textContent = `Show ${some}${left.toLocaleString()} more`;
    button.hidden = left === 0;
  };
  grow(first);
  return [list, button];
}

/**
 * Puts new elements in the place of old ones that differ from them, and keeps the focus.
 *
 * @param {HTMLElement} parent
 * @param {Element | undefined} old
 * @param {HTMLElement} made
 */
export function renew(parent, old, made) {
  if (!old) parent.append(made);
  else if (!old.isEqualNode(made)) {
    const focused = /** @type {HTMLElement | null} */ (document.activeElement);
    const key = old.contains(focused) ? focused?.dataset.key : undefined;
    old.replaceWith(made);
    if (!key) return;
    const again = made.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (again instanceof HTMLElement) again.focus({ preventScroll: true });
  }
}

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new TypeError(`#${id} is no ${type.name}`);
  return found;
}

/**
 * @param {string} id
 * @param {string} text
 */
export function setText(id, text) {
  const place = byId(id, HTMLElement);
  // Written only when it differs, or a screen reader would say it again.
  if (place.textContent !== text) place.textContent = text;
}

/**
 * A dialog with one form. Its buttons with `data-close` close it; `submit` closes it unless it
 * fails, and the reason stays to be read.
 *
 * @param {string} id
 * @param {() => Promise<void>} submit
 * @param {() => void} [closed] called after a success, when the focus has gone back
 * @returns {{open: () => void, fail: (error: unknown) => void, button: HTMLButtonElement}}
 */
export function formDialog(id, submit, closed) {
  const dialog = byId(id, HTMLDialogElement);
  const form = /** @type {HTMLFormElement} */ (dialog.querySelector('form'));
  const failure = /** @type {HTMLElement} */ (dialog.querySelector('.failure'));
  const button = /** @type {HTMLButtonElement} */ (dialog.querySelector('[type=submit]'));
  const fail = (/** @type {unknown} */ error) => {
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
  return {
    button,
    fail,
    open() {
      failure.hidden = true;
      button.disabled = false;
      dialog.showModal();
    },
  };
}

/** @param {unknown} error */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
