// @ts-check
/** One model's view of the image: picture and answer, its layers, and what one of their units computes. */
import { Problem, explain, layers as fetchLayers } from "./api.js";
import { classBars } from "./bars.js";
import { fill, h } from "./dom.js";
import { heatChoice } from "./heat.js";
import { picture } from "./picture.js";
import { scene } from "./scene.js";
import { layerTiles, named, readMaps } from "./tiles.js";
import { duration, hasText, number, t, told } from "./text.js";
import { showUnit } from "./unit.js";

const MOST_LAYERS = 24; // whose maps are shown at once
const ROW_MAPS = 6; // of a layer in the row
const CHEAP_US = 15_000; // a heat map that takes longer is made when the image rests
const OF_THE_IMAGE = [400, 413, 415, 422]; // HTTP's codes where the image is what is wrong
const KINDS_FIRST = ["convolution", "max_pooling", "average_pooling", "fully_connected", "softmax", "input"];

/**
 * @param {import("./api.js").Model} model
 * @param {{drag: (aside: number, down: number, ended: boolean) => void, tell: (text: string, event: PointerEvent | null) => void, answered: () => void, signal: AbortSignal}} host
 */
export function pane(model, host) {
  const labels = /** @type {string[]} */ (model.info?.labels ?? []);
  /** @type {import("./tiles.js").Layer[]} */
  let layers = [];
  /** @type {Set<number>} */
  let wanted = new Set();
  /** @type {number} */
  let selected = -1;
  /** @type {import("./tiles.js").Place | null} */
  let unit = null;
  let strength = 0.6;
  /** @type {string} */
  let heatClass = "top";
  let heatUs = Infinity; // of the last one; not known yet
  /** @type {{blob: Blob, asked: string} | null} what the heat map is of */
  let heatOf = null;
  let slow = new AbortController(); // ends a heat map that is made while another image is wanted
  let flat = true;
  /** @type {{image: Blob, isWhole: boolean} | null} */
  let next = null;
  let isAsking = false;
  /** @type {Blob | null} */
  let last = null;
  /** @type {any} */
  let heatMap;
  let unitLife = new AbortController();
  /** @type {Map<number, import("./tiles.js").Maps>} */
  const maps = new Map();

  const image = picture(host.drag);
  const answer = h("div", { class: "answer" });
  const problem = h("div");
  const note = h("p", { class: "small muted" });
  const heat = heatChoice(labels, (chosen) => ((heatClass = chosen), again()));
  const row = h("div", { class: "network", tabIndex: 0, role: "group", "aria-label": t("inside.network") });
  const deep = h("div", { hidden: true });
  const layerView = h("section", { class: "card layer-view", "aria-live": "polite" });
  const howMany = h("p", { class: "small muted" });
  const unitView = h("section", { class: "card unit-view", hidden: true, "aria-live": "polite" });
  const choices = h("div", { class: "tabs", role: "group", "aria-label": t("inside.view") });
  const element = h(
    "section", { class: "pane", "aria-label": model.name },
    h("h2", {}, model.name, h("span", { class: "muted" }, ` ${model.version}`)),
    problem,
    h("div", { class: "pane-top" },
      h("div", { class: "card picture-card" }, image.element, heat.element),
      h("div", { class: "card answer-card" }, answer, note)),
    h("div", { class: "card" }, h("div", { class: "row between" }, h("h3", {}, t("inside.network")), choices), h("p", { class: "small muted" }, t("inside.legend", { n: ROW_MAPS })), row, deep),
    h("div", { class: "inspect" }, layerView, unitView),
  );
  /** @type {Map<number, ReturnType<typeof layerTiles>>} */
  const rows = new Map();
  /** @type {ReturnType<typeof layerTiles> | null} */
  let large = null;
  /** @type {ReturnType<typeof scene> | null} */
  let space = null;
  const ready = begin();
  host.signal.addEventListener("abort", () => unitLife.abort());

  return {
    element,
    /** Shows what the model makes of an image. @param {Blob} blob @param {boolean} isWhole it rests: everything is to be made */
    ask(blob, isWhole) {
      next = { image: blob, isWhole: isWhole || Boolean(next?.isWhole) };
      slow.abort();
      pump();
    },
    /** @param {number} share 0 to 1 */
    heat(share) {
      const wasOff = !strength;
      strength = share;
      image.heat(heatMap, strength);
      if (wasOff && strength && last) again();
    },
  };

  async function begin() {
    try {
      layers = (await fetchLayers(model.name, model.version)).layers;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      fill(problem, h("p", { class: "problem", role: "alert" }, error.message));
      return;
    }
    wanted = new Set(pickLayers(layers));
    drawRow();
    drawChoices();
    const shown = layers.filter((each) => wanted.has(each.index));
    select(shown.find((each) => each.kind === "convolution")?.index ?? layers.find((each) => each.has_units)?.index ?? 0);
  }

  function again() {
    if (last) {
      next = { image: last, isWhole: true };
      slow.abort();
      pump();
    }
  }

  /** Asks for one image at a time; of those that come meanwhile only the newest counts. */
  async function pump() {
    if (isAsking) return;
    isAsking = true;
    await ready;
    while (next && !host.signal.aborted) {
      const { image: blob, isWhole } = next;
      next = null;
      last = blob;
      slow = new AbortController();
      const ofClass = heatClass; // another one may be chosen before the answer comes
      try {
        const wants = strength > 0 && (heatOf?.blob !== blob || heatOf.asked !== ofClass);
        const isCheap = heatUs < CHEAP_US;
        if (wants) heatOf = null;
        take(await explain(model.name, model.version, blob, { ...asked(isWhole), ...(wants && isCheap ? { heat: ofClass } : {}) }, host.signal), blob, ofClass);
        fill(problem);
        element.classList.remove("failed");
        host.answered();
        if (!wants || isCheap || !isWhole || next) continue;
        // It may take seconds: the answer and the maps do not wait for it.
        heat.making();
        take(await explain(model.name, model.version, blob, { heat: ofClass }, AbortSignal.any([host.signal, slow.signal])), blob, ofClass);
      } catch (error) {
        if (host.signal.aborted) return;
        if (slow.signal.aborted) continue;
        if (!(error instanceof Problem)) throw error;
        fill(problem, h("p", { class: "problem", role: "alert" }, error.message));
        element.classList.toggle("failed", OF_THE_IMAGE.includes(error.status)); // what is shown is another image's
        if (error.status === 429 && !next) {
          await new Promise((resolve) => setTimeout(resolve, Math.max(200, error.retryAfterMs)));
          next ??= { image: blob, isWhole };
        }
      }
    }
    isAsking = false;
  }

  /** @param {boolean} isWhole @returns {Record<string, string | number>} */
  function asked(isWhole) {
    const some = new Set(wanted);
    if (selected >= 0) some.add(selected);
    /** @type {Record<string, string | number>} */
    const found = { maps: [...some].sort((a, b) => a - b).join(","), map_channels: 64, map_side: isWhole ? 64 : 32 };
    if (unit) found.unit = `${unit.layer},${unit.channel},${unit.y},${unit.x}`;
    return found;
  }

  /** @param {any} found an explanation @param {Blob} blob of this image @param {string} ofClass that its heat map was asked for */
  function take(found, blob, ofClass) {
    image.show(found.image);
    if (found.heat_map) {
      heatMap = found.heat_map;
      heatUs = heatMap.compute_us;
      heatOf = { blob, asked: ofClass };
    } else if (!heatOf) heatMap = undefined; // it was of another image, or class
    image.heat(heatMap, strength);
    const best = found.classes[0];
    fill(answer, h("h3", {}, best?.label ?? t("result.nothing")), classBars(found.classes.slice(0, 5)));
    note.textContent = t("inside.took", { total: duration(found.timing.total_us), images: number(found.timing.images) });
    heat.update(found.classes, heatClass, heatMap);
    for (const each of found.maps ?? []) maps.set(each.layer, readMaps(each));
    for (const [index, tiles] of rows) {
      const own = maps.get(index);
      if (own) tiles.update(few(own));
    }
    updateLarge();
    if (!flat) space?.update(maps);
    if (found.unit) {
      unitLife.abort();
      unitLife = new AbortController();
      unitView.hidden = false;
      showUnit(unitView, found.unit, layers, unitLife.signal);
      image.field(found.unit.receptive_field ?? null);
    }
  }

  function drawChoices() {
    const choose = (/** @type {boolean} */ isFlat) => {
      flat = isFlat;
      row.hidden = !flat;
      deep.hidden = flat;
      if (!flat && !space) {
        space = scene(layers.filter((each) => wanted.has(each.index)), labels, pick, select, host.tell);
        fill(deep, space.element, h("p", { class: "small muted" }, t("inside.turn")));
      }
      if (!flat) space?.update(maps);
      drawChoices();
    };
    fill(choices, [[true, "inside.flat"], [false, "inside.deep"]].map(([isFlat, text]) =>
      h("button", { type: "button", "aria-pressed": String(flat === isFlat), on: { click: () => choose(Boolean(isFlat)) } }, t(String(text)))));
  }

  /** The layers in a row; those between the ones that are shown are one step each, which opens them. */
  function drawRow() {
    /** @type {HTMLElement[]} */
    const columns = [];
    for (let at = 0; at < layers.length; ) {
      if (wanted.has(layers[at].index)) {
        columns.push(column(layers[at++]));
        continue;
      }
      const start = at;
      while (at < layers.length && !wanted.has(layers[at].index)) at++;
      const between = layers.slice(start, at);
      columns.push(h("button", {
        type: "button", class: "between", title: between.map((each) => each.name).join(", "),
        on: { click: () => (between.forEach((each) => wanted.add(each.index)), drawRow(), again()) },
      }, between.length > 1 ? t("inside.between", { from: between[0].index, to: between[between.length - 1].index }) : t("inside.between-one", { n: between[0].index })));
    }
    fill(row, columns);
    mark();
  }

  /** @param {import("./tiles.js").Layer} layer @returns {HTMLElement} */
  function column(layer) {
    const tiles = layerTiles(layer, labels, pick, host.tell);
    const known = maps.get(layer.index);
    if (known) tiles.update(few(known));
    rows.set(layer.index, tiles);
    return h("div", { class: `layer kind-${layer.kind}`, data: { layer: layer.index } },
      h("button", { type: "button", class: "tag", title: told(layer.detail), on: { click: () => select(layer.index) } },
        h("span", {}, named(layer)), h("span", { class: "small muted" }, layer.shape.join(" × "))),
      tiles.element);
  }

  function mark() {
    row.querySelectorAll(".layer").forEach((/** @type {any} */ each) => each.classList.toggle("selected", Number(each.dataset.layer) === selected));
  }

  /** @param {number} index */
  function select(index) {
    const layer = layers.find((each) => each.index === index);
    if (!layer) return;
    const isNew = selected !== index;
    selected = index;
    mark();
    if (!isNew) return;
    large = layerTiles(layer, labels, pick, host.tell);
    fill(layerView,
      h("h3", {}, named(layer), h("span", { class: "muted" }, ` ${layer.name}`)),
      h("p", {}, hasText(`kind.${layer.kind}.is`) ? t(`kind.${layer.kind}.is`) : ""),
      h("p", { class: "small muted" }, [told(layer.detail), t("inside.shape", { shape: layer.shape.join(" × ") }), layer.parameters ? t("inside.parameters", { n: number(layer.parameters) }) : ""].filter(Boolean).join(" · ")),
      large.element, howMany,
      layer.has_units || scoresOf(layer) ? h("p", { class: "small muted" }, t(layer.has_units ? "inside.click" : "inside.click-score")) : null);
    if (maps.has(index)) updateLarge();
    else again();
  }

  function updateLarge() {
    const own = maps.get(selected);
    const all = layers.find((each) => each.index === selected)?.shape ?? [];
    if (!own || !large) return;
    large.update(own);
    howMany.textContent = all.length === 3 && own.channels.length < all[0] ? t("inside.strongest", { n: number(own.channels.length), all: number(all[0]) }) : "";
  }

  /** The layer whose scores a softmax turns into probabilities, if it can be explained. @param {import("./tiles.js").Layer} layer */
  function scoresOf(layer) {
    if (layer.kind !== "softmax" || layer.shape.length > 1) return undefined;
    return layers.find((each) => layer.inputs.includes(each.index) && each.has_units && each.shape[0] === layer.shape[0]);
  }

  /** @param {import("./tiles.js").Place} place */
  function pick(place) {
    const layer = layers.find((each) => each.index === place.layer);
    if (!layer) return;
    select(place.layer);
    const score = scoresOf(layer);
    if (!layer.has_units && !score) return;
    unit = layer.has_units || !score ? place : { layer: score.index, channel: place.channel, y: 0, x: 0 };
    again();
  }
}

/** The first of the maps of a layer that came. @param {import("./tiles.js").Maps} maps @returns {import("./tiles.js").Maps} */
function few(maps) {
  return { ...maps, channels: maps.channels.slice(0, ROW_MAPS), values: maps.values.slice(0, ROW_MAPS) };
}

/** Of a deep network the layers that tell most, spread over it. @param {import("./tiles.js").Layer[]} layers @returns {number[]} */
function pickLayers(layers) {
  if (layers.length <= MOST_LAYERS) return layers.map((each) => each.index);
  const telling = layers.filter((each) => KINDS_FIRST.includes(each.kind));
  if (telling.length <= MOST_LAYERS) return telling.map((each) => each.index);
  return Array.from({ length: MOST_LAYERS }, (_, at) => telling[Math.round((at * (telling.length - 1)) / (MOST_LAYERS - 1))].index);
}
