// @ts-check
/** Makes elements. Nothing here parses HTML, so that no text of a caller or a model can become markup. */

/**
 * @typedef {Node | string | number | null | undefined | false} Child
 * @typedef {Record<string, any>} Properties `class`, `on` (listeners), `style` (CSS properties), `data`; others are set
 *   as properties where the element has them, else as attributes.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An HTML element.
 * @param {string} tag @param {Properties} [properties] @param {...(Child | Child[])} children
 * @returns {any}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "class") element.className = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "style") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name in element && !name.startsWith("aria") && name !== "list" && name !== "role") /** @type {any} */ (element)[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...nodes(children));
  return element;
}

/**
 * An SVG element.
 * @param {string} tag @param {Record<string, string | number>} [attributes] @param {...(Child | Child[])} children
 * @returns {SVGElement}
 */
export function s(tag, attributes = {}, ...children) {
  const element = /** @type {SVGElement} */ (document.createElementNS(SVG, tag));
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...nodes(children));
  return element;
}

/** @param {Element} element @param {...(Child | Child[])} children */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
}

/** @param {(Child | Child[])[]} children @returns {(Node | string)[]} */
function nodes(children) {
  /** @type {(Node | string)[]} */
  const found = [];
  for (const each of children.flat()) {
    if (each === null || each === undefined || each === false || each === "") continue;
    found.push(each instanceof Node ? each : String(each));
  }
  return found;
}

const ICONS = {
  file: "M4 5a2 2 0 0 1 2-2h7l7 7v9a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2zM13 3v7h7",
  camera: "M3 8a2 2 0 0 1 2-2h2l2-2h6l2 2h2a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2zM12 17a4 4 0 1 0 0-8 4 4 0 0 0 0 8",
  draw: "M4 20l1-4L16 5a2.100 2.100 0 0 1 3 3L8 19zM14 7l3 3",
  paste: "M8 4h8v3H8zM8 5H6a2 2 0 0 0-2 2v12a2 2 0 0 0 2 2h12a2 2 0 0 0 2-2V7a2 2 0 0 0-2-2h-2",
  key: "M14 10a5 5 0 1 0-4 4l2 2h2v2h2v2h4v-4z M8 9h.01",
  theme: "M12 3a9 9 0 1 0 9 9 7 7 0 0 1-9-9",
  right: "M9 5l7 7-7 7",
  eye: "M2 12s4-7 10-7 10 7 10 7-4 7-10 7-10-7-10-7zM12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
};

/** @param {keyof typeof ICONS} name @returns {SVGElement} */
export function icon(name) {
  return s("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, s("path", { d: ICONS[name] }));
}

/** @param {string} text @param {() => void} act @param {Properties} [more] @returns {HTMLButtonElement} */
export function button(text, act, more = {}) {
  const { icon: name, ...rest } = more;
  return h("button", { type: "button", ...rest, on: { click: act } }, name ? icon(name) : null, text ? h("span", {}, text) : null);
}
