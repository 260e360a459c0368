// @ts-check
/**
 * The confusion matrix answers: the pointer with the words of a cell, a click with the images of that cell beside it. Two
 * lists of classes do the same for keyboards and small screens.
 */
import { all, framed, layerOver, make, percent, pointed, put, putBeside, say } from "./dom.js";

/**
 * @typedef {{box: number[], labels: string[], images: number[], cells: [number, number, number][]}} Matrix rows are true
 *   classes, columns predicted ones; `cells` are (true, predicted, images), `images` those of each true class
 */

/** @param {Matrix} matrix @param {number} truth @param {number} predicted @returns {number} */
const count = ({ cells }, truth, predicted) => cells.find(([row, column]) => row === truth && column === predicted)?.[2] ?? 0;

/** 12 of 974 test images, and 1.2%. @param {Matrix} matrix @param {number} truth @param {number} predicted @returns {string[]} */
function inWords(matrix, truth, predicted) {
  const [found, images] = [count(matrix, truth, predicted), matrix.images[truth]];
  const counts = { found: found.toLocaleString("en"), images: images.toLocaleString("en") };
  const words = images === 1 ? say("{found} of {images} test image", counts) : say("{found} of {images} test images", counts);
  return [words, images ? `${((100 * found) / images).toFixed(1)}%` : ""];
}

/** @param {SVGSVGElement} picture @param {Matrix} matrix @param {(truth: number, predicted: number) => void} choose
 * @returns {(truth: number, predicted: number) => void} marks a cell */
function answer(picture, matrix, choose) {
  const { box, labels } = matrix;
  const frame = framed(picture);
  const layer = layerOver(picture, frame, box);
  const side = 1 / labels.length;
  const cell = (/** @type {Event} */ event) => pointed(layer, event)?.map((part) => Math.min(labels.length - 1, Math.floor(part / side)));
  const hide = () => all(".tip", layer).forEach((tip) => tip.remove());
  frame.addEventListener("pointermove", (event) => {
    hide();
    const found = cell(event);
    if (!found) return;
    const [predicted, truth] = found;
    const words = inWords(matrix, truth, predicted).filter(Boolean).join(", ");
    const tip = make("div", { className: "tip" }, make("b", {}, say("true {truth}, predicted {predicted}", { truth: labels[truth], predicted: labels[predicted] })), make("span", {}, words));
    layer.append(putBeside(tip, (predicted + 0.5) * side, truth > 0.7 * labels.length ? truth * side : (truth + 1) * side));
  });
  frame.addEventListener("pointerleave", hide);
  frame.addEventListener("click", (event) => {
    const found = cell(event);
    if (found) choose(found[1], found[0]);
  });
  return (truth, predicted) => {
    all(".marked", layer).forEach((mark) => mark.remove());
    const mark = put(make("i", { className: "marked" }), predicted * side, truth * side);
    Object.assign(mark.style, { width: percent(side), height: percent(side) });
    layer.append(mark);
  };
}

/** The images that the page holds of a cell, each once. @param {number} truth @param {number} predicted @returns {HTMLElement[]} */
function held(truth, predicted) {
  const tiles = all(`li[data-true="${truth}"][data-predicted="${predicted}"]`).filter((tile) => !tile.closest(".panel"));
  return [...new Map(tiles.reverse().map((tile) => [tile.dataset.place, tile])).values()].reverse(); // the first of two counts
}

/** @param {SVGSVGElement} picture @param {Matrix} matrix */
function addPanel(picture, matrix) {
  const { labels, images, cells } = matrix;
  const lists = ["true", "predicted"].map(() => make("select", { onchange: () => show(+lists[0].value, +lists[1].value) }, ...labels.map((label, value) => make("option", { value }, label))));
  const words = make("p", { role: "status" });
  const sheet = make("ul", { className: "sheet" });
  const show = (/** @type {number} */ truth, /** @type {number} */ predicted) => {
    [lists[0].value, lists[1].value] = [truth, predicted];
    const [said, share] = inWords(matrix, truth, predicted);
    const [found, tiles] = [count(matrix, truth, predicted), held(truth, predicted)];
    const names = { said, share, truth: labels[truth], predicted: labels[predicted], held: tiles.length };
    const right = say("{said} of {truth} got this class ({share}).", names);
    const wrong = found === 1 ? say("{said} of {truth} was taken for {predicted} ({share}).", names) : say("{said} of {truth} were taken for {predicted} ({share}).", names);
    const cut = tiles.length ? say("This page holds {held} of them.", names) : say("This page holds none of them.");
    const what = truth === predicted ? right : wrong;
    words.textContent = images[truth] ? `${what}${tiles.length < found ? ` ${cut}` : ""}` : say("There are no test images of {truth}.", names);
    sheet.replaceChildren(...tiles.map((tile) => Object.assign(tile.cloneNode(true), { hidden: false })));
    mark(truth, predicted);
  };
  const mark = answer(picture, matrix, show);
  const controls = make("p", { className: "controls" }, make("label", {}, say("true"), " ", lists[0]), make("label", {}, say("predicted"), " ", lists[1]));
  const place = /** @type {HTMLElement} */ (picture.closest(".scroll"));
  place.after(make("div", { className: "panel" }, controls, words, sheet));
  place.parentElement?.classList.add("with-panel");
  const wrong = cells.filter(([truth, predicted]) => truth !== predicted).sort((one, other) => other[2] - one[2]);
  const [truth, predicted] = wrong[0] ?? cells[0];
  show(truth, predicted);
}

const hasImages = all("li[data-true]").length > 0;
for (const picture of all("svg[data-matrix]")) {
  const matrix = JSON.parse(picture.dataset.matrix);
  if (hasImages) addPanel(picture, matrix);
  else answer(picture, matrix, () => undefined);
}
