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
