// @ts-check
/** A layer's maps as pictures that tell their values, and are painted anew in place when the image changes. */
import { canvas, context } from "./digits.js";
import { h } from "./dom.js";
import { bytes, paint } from "./pixels.js";
import { t, value as written } from "./text.js";

/**
 * @typedef {{index: number, name: string, kind: string, op: string, detail: string, shape: number[], parameters: number,
 *   inputs: number[], has_units: boolean, output: string}} Layer
 * @typedef {{layer: number, channels: number[], height: number, width: number, encoding: string, values: string,
 *   low: number[], high: number[], strength: number[]}} RawMaps
 * @typedef {{width: number, height: number, channels: number[], values: Float32Array[], largest: number, isVector: boolean, length: number}} Maps
 * @typedef {{layer: number, channel: number, y: number, x: number}} Place
 */

/** @param {Layer} layer @returns {string} its number and kind, as `covey explain` numbers it */
export const named = (layer) => `${layer.index} ${t(`kind.${layer.kind}`)}`;

/** @param {RawMaps} raw @returns {Maps} a layer without rows and columns becomes one square of cells */
export function readMaps(raw) {
  const all = bytes(raw.values);
  const count = raw.height * raw.width;
  const values = raw.channels.map((_, at) => {
    const found = new Float32Array(count);
    const [low, high] = [raw.low[at], raw.high[at]];
    for (let place = 0; place < count; place++) found[place] = low + ((high - low) * all[at * count + place]) / 255;
    return found;
  });
  let largest = 1e-12;
  raw.channels.forEach((_, at) => (largest = Math.max(largest, Math.abs(raw.low[at]), Math.abs(raw.high[at]))));
  const isVector = raw.height === 1 && raw.channels.length === 1 && raw.width > 1;
  if (!isVector) return { width: raw.width, height: raw.height, channels: raw.channels, values, largest, isVector, length: count };
  const width = count <= 12 ? 1 : Math.ceil(Math.sqrt(count));
  const height = Math.ceil(count / width);
  const padded = new Float32Array(width * height);
  padded.set(values[0]);
  return { width, height, channels: [0], values: [padded], largest, isVector, length: count };
}

/**
 * One map on a canvas. @param {Maps} maps @param {number} at @param {HTMLCanvasElement} [onto]
 * @returns {HTMLCanvasElement}
 */
export function paintMap(maps, at, onto) {
  const made = onto ?? canvas(maps.width, maps.height);
  if (made.width !== maps.width || made.height !== maps.height) [made.width, made.height] = [maps.width, maps.height];
  paint(context(made), maps.values[at], maps.width, maps.height, maps.largest);
  return made;
}

/**
 * The unit of a layer at a place of a map's picture; null beside all of them.
 * @param {Layer} layer @param {Maps} maps @param {number} at which map @param {number} column @param {number} row
 * @returns {(Place & {value: number}) | null}
 */
export function unitAt(layer, maps, at, column, row) {
  const x = Math.min(maps.width - 1, Math.max(0, Math.floor(column)));
  const y = Math.min(maps.height - 1, Math.max(0, Math.floor(row)));
  const value = maps.values[at][y * maps.width + x];
  if (maps.isVector) {
    const place = y * maps.width + x;
    if (place >= maps.length) return null;
    const channel = Math.floor((place * layer.shape[0]) / maps.length);
    return { layer: layer.index, channel, y: 0, x: 0, value };
  }
  const [, height = 1, width = 1] = layer.shape;
  // Large maps come averaged: the unit in the middle of what is under the pointer.
  return {
    layer: layer.index, channel: maps.channels[at], value,
    y: Math.min(height - 1, Math.floor(((y + 0.5) * height) / maps.height)),
    x: Math.min(width - 1, Math.floor(((x + 0.5) * width) / maps.width)),
  };
}

/** @param {Layer} layer @param {Place & {value: number}} unit @param {string[]} labels @returns {string} */
export function unitText(layer, unit, labels) {
  const isClass = layer.kind === "softmax" && labels[unit.channel];
  const place = layer.shape.length > 1 ? t("inside.at", { channel: unit.channel, y: unit.y, x: unit.x }) : isClass ? labels[unit.channel] : t("inside.unit-n", { n: unit.channel });
  return `${place}: ${written(unit.value)}`;
}

/**
 * The tiles of one layer. `pick` is told the unit that is clicked, or chosen by the keys.
 * @param {Layer} layer @param {string[]} labels @param {(unit: Place) => void} pick
 * @param {(text: string, event: PointerEvent | null) => void} tell what is under the pointer
 */
export function layerTiles(layer, labels, pick, tell) {
  const element = h("div", { class: "tiles" });
  /** @type {HTMLCanvasElement[]} */
  let tiles = [];
  /** @type {Maps | null} */
  let maps = null;

  function update(/** @type {Maps} */ found) {
    maps = found;
    if (tiles.length !== found.channels.length) {
      tiles = found.channels.map((_, at) => tile(at));
      const isOfClasses = layer.kind === "softmax" && found.width === 1 && labels.length === found.length;
      element.replaceChildren(...tiles, ...(isOfClasses ? [h("ol", { class: "names" }, labels.map((each) => h("li", { title: each }, each)))] : []));
    }
    element.classList.toggle("vector", found.isVector);
    element.classList.toggle("thin", found.isVector && found.width === 1);
    tiles.forEach((each, at) => {
      paintMap(found, at, each);
      each.setAttribute("aria-label", t("inside.map", { layer: layer.name, channel: found.channels[at] }));
    });
  }

  function tile(/** @type {number} */ at) {
    const made = canvas(1, 1);
    made.className = "map";
    made.tabIndex = at === 0 ? 0 : -1;
    made.setAttribute("role", "img");
    watchUnits(made, () => (maps ? { layer, maps, at } : null), labels, pick, tell);
    return made;
  }
  return { element, update };
}

/**
 * Lets the units of a map be pointed at and clicked, and walked through by the arrow keys.
 * @param {HTMLCanvasElement} made @param {() => {layer: Layer, maps: Maps, at: number} | null} get @param {string[]} labels
 * @param {(unit: Place) => void} pick @param {(text: string, event: PointerEvent | null) => void} tell
 */
export function watchUnits(made, get, labels, pick, tell) {
  let cursor = { x: 0, y: 0 };
  const under = (/** @type {MouseEvent} */ event) => {
    const found = get();
    return found && unitAt(found.layer, found.maps, found.at, (event.offsetX / made.clientWidth) * found.maps.width, (event.offsetY / made.clientHeight) * found.maps.height);
  };
  made.addEventListener("pointermove", (event) => {
    const unit = under(event);
    const found = get();
    if (unit && found) tell(unitText(found.layer, unit, labels), event);
  });
  made.addEventListener("pointerleave", () => tell("", null));
  made.addEventListener("click", (event) => {
    const unit = under(event);
    if (unit) pick(unit);
  });
  made.addEventListener("keydown", (event) => {
    const found = get();
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!found || (!step && event.key !== "Enter")) return;
    event.preventDefault();
    if (step) cursor = { x: Math.min(found.maps.width - 1, Math.max(0, cursor.x + step[0])), y: Math.min(found.maps.height - 1, Math.max(0, cursor.y + step[1])) };
    const unit = unitAt(found.layer, found.maps, found.at, cursor.x, cursor.y);
    if (!unit) return;
    made.setAttribute("aria-label", unitText(found.layer, unit, labels));
    if (event.key === "Enter") pick(unit);
  });
}
