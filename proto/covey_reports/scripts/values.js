// @ts-check
/** Lines answer the pointer and the arrow keys with the values of the nearest point. */
import { all, framed, layerOver, make, pointed, put, putBeside, say } from "./dom.js";

/**
 * @typedef {[number, string, [number, number, string][]]} Point x, words for it, and of each line its number, y and words
 * @typedef {{box: number[], lines: [string, string][], points: Point[]}} Chart see covey_reports.places.values
 */

/** @param {SVGSVGElement} picture @param {HTMLElement} frame @param {Chart} chart */
function answer(picture, frame, { box, lines, points }) {
  const [left, top, right, bottom] = box;
  const layer = layerOver(picture, frame, box);
  let chosen = points.length - 1;

  const describe = () => {
    const [, words, values] = points[chosen];
    layer.ariaValueNow = String(chosen + 1);
    layer.ariaValueText = `${words}: ${values.map(([line, , value]) => `${lines[line][0]} ${value}`).join(", ")}`;
  };
  const show = () => {
    describe();
    const [x, words, values] = points[chosen];
    const across = (x - left) / (right - left);
    const key = (/** @type {number} */ line, /** @type {string} */ className) => {
      const found = make("i", { className });
      found.style.background = lines[line][1];
      return found;
    };
    const dots = values.map(([line, y]) => put(key(line, "dot"), across, (y - top) / (bottom - top)));
    const rows = values.map(([line, , value]) => make("span", {}, key(line, "key"), `${lines[line][0]} `, make("b", {}, value)));
    const tip = make("div", { className: "tip" }, make("b", {}, words), ...rows);
    layer.replaceChildren(put(make("i", { className: "cross" }), across), ...dots, putBeside(tip, across, 0));
  };
  const hide = () => layer.replaceChildren();

  Object.assign(layer, { tabIndex: 0, role: "slider", ariaLabel: say("Values of {lines}", { lines: lines.map(([name]) => name).join(", ") }), ariaValueMin: "1", ariaValueMax: String(points.length) });
  describe();
  frame.addEventListener("pointermove", (event) => {
    const at = pointed(layer, event);
    if (!at) return document.activeElement === layer ? undefined : hide();
    const distances = points.map(([x]) => Math.abs((x - left) / (right - left) - at[0]));
    chosen = distances.indexOf(Math.min(...distances));
    return show();
  });
  frame.addEventListener("pointerleave", hide);
  layer.addEventListener("focus", show);
  layer.addEventListener("blur", hide);
  layer.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape") return hide();
    const to = { ArrowLeft: chosen - 1, ArrowDown: chosen - 1, ArrowRight: chosen + 1, ArrowUp: chosen + 1, Home: 0, End: points.length - 1 }[event.key];
    if (to === undefined) return undefined;
    event.preventDefault();
    chosen = Math.max(0, Math.min(points.length - 1, to));
    return show();
  });
}

for (const picture of all("svg[data-values]")) {
  const frame = framed(picture);
  for (const chart of JSON.parse(picture.dataset.values)) if (chart.points.length) answer(picture, frame, chart);
}
