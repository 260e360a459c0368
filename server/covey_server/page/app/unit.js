// @ts-check
/** What one unit computes, step by step: its window, the kernel's numbers, their products and the sum. */
import { button, fill, h } from "./dom.js";
import { colour, floats } from "./pixels.js";
import { named } from "./tiles.js";
import { number, percent, t, value as written } from "./text.js";

const STEP_MS = 350;
const LISTED = 12; // strongest terms of a unit with many inputs
const LISTED_SUMS = 8; // of a window's channels

/**
 * @param {HTMLElement} place @param {any} unit of an explanation @param {import("./tiles.js").Layer[]} layers
 * @param {AbortSignal} signal ends the animation
 */
export function showUnit(place, unit, layers, signal) {
  const layer = layers.find((each) => each.index === unit.layer);
  const { receptive_field: field } = unit;
  const work = h("div", { class: "work" });
  const readsImage = layer?.inputs.some((index) => layers.find((each) => each.index === index)?.kind === "input");
  fill(
    place,
    h("h3", {}, t(layer && layer.shape.length > 1 ? "unit.title" : "unit.title-n", { layer: layer ? named(layer) : "", channel: unit.channel }), layer && layer.shape.length > 1 ? h("span", { class: "muted" }, ` ${t("unit.at", { y: unit.y, x: unit.x })}`) : null),
    field ? h("p", {}, t("unit.field", { width: field.right - field.left, height: field.bottom - field.top, top: field.top, left: field.left })) : null,
    readsImage ? h("p", { class: "small muted" }, t("kind.input.is")) : null,
    work, result(unit), next(unit, layers),
  );
  const inputs = floats(unit.inputs ?? "");
  const weights = floats(unit.weights ?? "");
  if (unit.operation === "sum" && isWindow(unit)) windows(work, unit, inputs, weights, signal);
  else if (unit.operation === "sum") terms(work, unit, inputs, weights);
  else plain(work, unit, inputs);
}

/** @param {any} unit @returns {HTMLElement} */
function result(unit) {
  const isEqual = Math.abs(unit.result - unit.engine_value) <= 1e-4 * Math.max(1, Math.abs(unit.engine_value));
  const sums = unit.channel_sums ?? [];
  return h("div", { class: "equation" },
    unit.operation === "sum" ? h("p", {}, isWindow(unit) ? ofChannels(sums) : ofTerms(unit), unit.rest ? ` + ${t("unit.rest")} ${written(unit.rest)}` : "", ` + ${t("unit.bias")} ${written(unit.bias ?? 0)} = `, h("b", { data: { value: "result" } }, written(unit.result))) : h("p", {}, "= ", h("b", { data: { value: "result" } }, written(unit.result))),
    h("p", { class: isEqual ? "good" : "bad" }, t(isEqual ? "unit.equal" : "unit.unequal"), " ", h("b", { data: { value: "engine" } }, written(unit.engine_value))));
}

/** The sums of a window's channels. @param {number[]} sums @returns {string} */
function ofChannels(sums) {
  const shown = added(sums.slice(0, LISTED_SUMS));
  const others = sums.slice(LISTED_SUMS);
  return others.length ? `${shown} + ${t("unit.channels", { n: number(others.length), sum: written(total(others)) })}` : shown;
}

/** The strongest products together, and all others together. @param {any} unit @returns {string} */
function ofTerms(unit) {
  const [inputs, weights] = [floats(unit.inputs ?? ""), floats(unit.weights ?? "")];
  const products = strongest(inputs, weights).map((at) => inputs[at] * weights[at]);
  const others = products.slice(LISTED);
  const listed = t("unit.listed", { n: Math.min(LISTED, products.length), sum: written(total(products.slice(0, LISTED))) });
  return others.length ? `${listed} + ${t("unit.others", { n: number(others.length), sum: written(total(others)) })}` : listed;
}

/** @param {number[]} values @returns {string} */
const added = (values) => values.map((each) => written(each)).join(" + ").replaceAll("+ -", "− ");

/** @param {ArrayLike<number>} values @returns {number} */
const total = (values) => Array.from(values).reduce((sum, each) => sum + each, 0);

/** Places of the products, the strongest first. @param {Float32Array} inputs @param {Float32Array} weights @returns {number[]} */
const strongest = (inputs, weights) => [...inputs.keys()].sort((a, b) => Math.abs(inputs[b] * weights[b]) - Math.abs(inputs[a] * weights[a]));

/** Whether a unit's terms are shown as windows: input, kernel and products. @param {any} unit @returns {boolean} */
const isWindow = (unit) => !unit.places?.length && unit.height * unit.width > 1;

/** What follows from it: the activation, the pooling. @param {any} unit @param {import("./tiles.js").Layer[]} layers */
function next(unit, layers) {
  const steps = (unit.next ?? []).map((/** @type {any} */ each) => {
    const layer = layers.find((one) => one.index === each.layer);
    if (layer?.kind === "softmax") return h("li", {}, h("b", {}, t("kind.softmax")), ": ", softmax(each, unit.engine_value), h("b", { data: { value: "probability" } }, percent(each.value)));
    return h("li", {}, h("b", {}, t(`kind.${layer?.kind ?? "other"}`)), layer?.op ? ` (${layer.op})` : "", ": ",
      each.inputs?.length > 1 ? h("span", {}, each.inputs.slice(0, 9).map((/** @type {number} */ one) => written(one)).join(", "), each.inputs.length > 9 ? ", …" : "", " → ") : each.inputs?.length ? `${written(each.inputs[0])} → ` : "… → ",
      h("b", {}, written(each.value)));
  });
  return steps.length ? h("div", {}, h("h4", {}, t("unit.next")), h("ol", { class: "steps" }, steps)) : null;
}

/** How a score becomes a probability. @param {any} step @param {number} score @returns {string} */
function softmax(step, score) {
  if (!step.inputs?.length) return "";
  // Less the largest score, as engines compute it: e to the power of a large one is no number any more.
  const most = Math.max(...step.inputs, score);
  const isLarge = most > 20;
  const power = Math.exp(score - (isLarge ? most : 0));
  const all = total(step.inputs.map((/** @type {number} */ each) => Math.exp(each - (isLarge ? most : 0))));
  return t(isLarge ? "unit.softmax-less" : "unit.softmax", { score: written(score), most: written(most), power: written(power), n: number(step.inputs.length), sum: written(all) }) + " ";
}

/**
 * The window of a convolution, one input channel at a time.
 * @param {HTMLElement} place @param {any} unit @param {Float32Array} inputs @param {Float32Array} weights @param {AbortSignal} signal
 */
function windows(place, unit, inputs, weights, signal) {
  const { height, width } = unit;
  const count = height * width;
  const most = { inputs: largest(inputs), weights: largest(weights), products: 0 };
  const products = inputs.map((each, at) => each * weights[at]);
  most.products = largest(products);
  let channel = 0;
  let step = count;
  /** @type {any} */
  let timer = 0;
  const line = h("p", { class: "running", role: "status" });
  const grids = h("div", { class: "grids" });
  const channels = inputs.length / count;
  const play = button(t("unit.play"), () => (timer ? stop() : start()), { class: "primary" });
  fill(
    place,
    h("div", { class: "row" },
      channels > 1 ? h("label", {}, t("unit.channel"), " ", h("select", { on: { change: (/** @type {any} */ event) => ((channel = Number(event.target.value)), (step = count), draw()) } },
        Array.from({ length: channels }, (_, at) => h("option", { value: at }, at + (unit.first_channel ?? 0))))) : null,
      play,
      button(t("unit.back"), () => (stop(), (step = Math.max(0, step - 1)), draw()), { class: "ghost" }),
      button(t("unit.step"), () => (stop(), (step = step >= count ? 1 : step + 1), draw()), { class: "ghost" })),
    grids, line,
  );
  signal.addEventListener("abort", stop);
  draw();

  function start() {
    if (step >= count) step = 0;
    play.textContent = t("unit.pause");
    timer = setInterval(() => {
      step++;
      draw();
      if (step >= count) stop();
    }, STEP_MS);
  }
  function stop() {
    clearInterval(timer);
    timer = 0;
    play.textContent = t("unit.play");
  }
  function draw() {
    const from = channel * count;
    const grid = (/** @type {string} */ title, /** @type {Float32Array} */ values, /** @type {number} */ most, /** @type {number} */ shown) =>
      h("figure", {}, h("figcaption", {}, title),
        h("table", { class: "grid-table" }, h("tbody", {}, Array.from({ length: height }, (_, y) => h("tr", {}, Array.from({ length: width }, (_, x) => {
          const at = y * width + x;
          const outside = isOutside(unit, y, x);
          return at < shown ? cell(values[from + at], most, at === step - 1 && step <= count && step > 0 && timerOrStep(), outside) : h("td", { class: "blank" });
        }))))));
    fill(grids,
      grid(t("unit.inputs"), inputs, most.inputs, count), h("span", { class: "sign" }, "×"),
      grid(t("unit.weights"), weights, most.weights, count), h("span", { class: "sign" }, "="),
      grid(t("unit.products"), products, most.products, step));
    const sum = products.slice(from, from + step).reduce((a, b) => a + b, 0);
    const at = from + step - 1;
    line.textContent = step > 0 && step < count
      ? t("unit.so-far", { input: written(inputs[at]), weight: written(weights[at]), product: written(products[at]), sum: written(sum) })
      : step === 0 ? t("unit.begin", { count }) : t("unit.all", { count, sum: written(sum) });
  }
  function timerOrStep() {
    return step < count || Boolean(timer);
  }
}

/** Whether a place of the window lies beside the image: in the padding. @param {any} unit @param {number} y @param {number} x */
function isOutside(unit, y, x) {
  return (unit.rows?.[y] ?? 0) < 0 || (unit.columns?.[x] ?? 0) < 0;
}

/** A unit with many single inputs: the strongest terms. @param {HTMLElement} place @param {any} unit @param {Float32Array} inputs @param {Float32Array} weights */
function terms(place, unit, inputs, weights) {
  const order = strongest(inputs, weights);
  const most = Math.abs(inputs[order[0]] * weights[order[0]]) || 1;
  fill(place, h("p", {}, t("unit.strongest", { shown: Math.min(LISTED, order.length), all: number(inputs.length) })),
    h("div", { class: "scroll" }, h("table", { class: "terms" },
      h("thead", {}, h("tr", {}, [t("unit.input-n"), t("unit.inputs"), t("unit.weight"), t("unit.products")].map((each) => h("th", { scope: "col" }, each)))),
      h("tbody", {}, order.slice(0, LISTED).map((at) => h("tr", {}, h("th", { scope: "row" }, unit.places?.length ? unit.places[at] : at), h("td", {}, written(inputs[at])), h("td", {}, written(weights[at])), cell(inputs[at] * weights[at], most, false, false)))))));
}

/** A window without weights: pooling, an activation. @param {HTMLElement} place @param {any} unit @param {Float32Array} inputs */
function plain(place, unit, inputs) {
  const most = largest(inputs);
  fill(place, h("p", {}, t(`unit.${unit.operation}`)),
    h("table", { class: "grid-table" }, h("tbody", {}, Array.from({ length: unit.height || 1 }, (_, y) => h("tr", {}, Array.from({ length: unit.width || 1 }, (_, x) => {
      const each = inputs[y * (unit.width || 1) + x];
      return cell(each, most, unit.operation === "max" && each === Math.max(...inputs), isOutside(unit, y, x));
    }))))));
}

/** @param {number} value @param {number} most @param {boolean} isCurrent @param {boolean} isOutside @returns {HTMLElement} */
function cell(value, most, isCurrent, isOutside) {
  const rgb = colour(most ? value / most : 0);
  const [red, green, blue] = rgb.map((each) => (each / 255) ** 2.2);
  const isBright = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179; // from here on black is easier to read
  return h("td", { class: `${isCurrent ? "current " : ""}${isOutside ? "outside" : ""}`, title: isOutside ? t("unit.padding") : undefined, style: { "background-color": `rgb(${rgb.join(" ")})`, color: isBright ? "#000" : "#fff" } }, value === undefined ? "" : written(Number(value.toPrecision(3))));
}

/** @param {Float32Array} values @returns {number} */
const largest = (values) => values.reduce((most, each) => Math.max(most, Math.abs(each)), 0);
