/**
 * Elements without markup: what a record says only ever becomes text.
 */

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, string | boolean | (() => void)>} [attributes] `text` is its text,
 *   `onclick` its handler, `true` an attribute without a value, `false` none
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (attribute === 'text') made.textContent = String(value);
    else if (typeof value === 'function') made.addEventListener('click', value);
    else if (typeof value === 'boolean') made.toggleAttribute(attribute, value);
    else made.setAttribute(attribute, value);
  }
  made.append(...children);
  return made;
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
 * @returns {{open: () => void}}
 */
export function formDialog(id, submit, closed) {
  const dialog = byId(id, HTMLDialogElement);
  const form = /** @type {HTMLFormElement} */ (dialog.querySelector('form'));
  const failure = /** @type {HTMLElement} */ (dialog.querySelector('.failure'));
  const button = /** @type {HTMLButtonElement} */ (form.querySelector('[type=submit]'));
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
      failure.textContent = error instanceof Error ? error.message : String(error);
      failure.hidden = false;
    } finally {
      button.disabled = false;
    }
  });
  return {
    open() {
      failure.hidden = true;
      button.disabled = false;
      dialog.showModal();
    },
  };
}
