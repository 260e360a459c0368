// @ts-check
/** What the other modules here share. Nothing parses HTML: no name of a class can become markup. */

/** @param {string} tag @param {Record<string, any>} properties @param {...(Node | string)} children @returns {any} */
export function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** @type {Record<string, string>} */
const spoken = JSON.parse(document.documentElement.dataset.spoken ?? "{}");

/**
 * A text in the page's language, its fields {name} filled. The page holds the translations of all that its scripts say.
 * @param {string} text @param {Record<string, string | number>} [values] @returns {string}
 */
export const say = (text, values = {}) => (spoken[text] ?? text).replace(/\{(\w+)\}/g, (_, name) => String(values[name]));

/** Elements of a page. @param {string} selector @param {ParentNode} [within] @returns {any[]} */
export const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/** A frame as large as a picture, for what is laid over it. @param {SVGSVGElement} picture @returns {HTMLElement} */
export function framed(picture) {
  const { minWidth, maxWidth } = picture.style;
  const frame = make("div", { className: "framed" });
  Object.assign(frame.style, { minWidth, width: maxWidth || "100%", maxWidth: "100%" });
  Object.assign(picture.style, { minWidth: "", maxWidth: "" });
  picture.replaceWith(frame);
  frame.append(picture);
  return frame;
}

/**
 * A layer over a part of a picture. @param {SVGSVGElement} picture @param {HTMLElement} frame
 * @param {number[]} box left, top, right and bottom in the picture's viewBox @returns {any}
 */
export function layerOver(picture, frame, [left, top, right, bottom]) {
  const view = picture.viewBox.baseVal;
  const layer = make("div", { className: "layer" });
  put(layer, (left - view.x) / view.width, (top - view.y) / view.height);
  Object.assign(layer.style, { width: percent((right - left) / view.width), height: percent((bottom - top) / view.height) });
  frame.append(layer);
  return layer;
}

/** The pointer's place in a layer, as shares; a little beside it counts. @param {any} layer @param {any} event @returns {number[] | null} */
export function pointed(layer, event) {
  const seen = layer.getBoundingClientRect();
  const [across, down] = [(event.clientX - seen.left) / seen.width, (event.clientY - seen.top) / seen.height];
  const [aside, above] = [6 / seen.width, 6 / seen.height];
  if (across < -aside || across > 1 + aside || down < -above || down > 1 + above) return null;
  return [across, down].map((share) => Math.max(0, Math.min(share, 1)));
}

/** @param {any} element @param {number} across shares of the layer that it stands in @param {number} [down] */
export function put(element, across, down) {
  element.style.left = percent(across);
  if (down !== undefined) element.style.top = percent(down);
  return element;
}

/** Words beside a place, on the side that has room. @param {any} tip @param {number} across @param {number} down */
export function putBeside(tip, across, down) {
  if (across > 0.5) tip.style.right = percent(1 - across);
  else tip.style.left = percent(across);
  if (down > 0.7) tip.style.bottom = percent(1 - down);
  else tip.style.top = percent(down);
  return tip;
}

/** @param {number} share */
export const percent = (share) => `${(100 * share).toFixed(3)}%`;
