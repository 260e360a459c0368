// @ts-check
/** Try: images by drop, paste, file, camera or drawing, and what the model says of each. */
import { Problem, classify, explain, state, whenBack } from "./api.js";
import { classBars, timingStrip } from "./bars.js";
import { asCode } from "./code.js";
import { button, fill, h, icon } from "./dom.js";
import { field, modelChoice, nothingServed } from "./model_choice.js";
import { seen } from "./pixels.js";
import { changes, chosen, isIndependent, store } from "./store.js";
import { number, percent, size, t } from "./text.js";

const AT_ONCE = 32; // images in one request
const AT_ONCE_BYTES = 16 << 20;
const SHOWN = 200;
const SEEN_AT_ONCE = 4; // images whose pixels as the model saw them are shown unasked

/**
 * @typedef {{name: string, blob: Blob, url: string, result?: import("./api.js").Result, error?: string,
 *   isLost?: boolean, timing?: import("./api.js").Timing, roundTripMs?: number, version?: number, model?: string, pixels?: any}} Picture
 */

/** @type {Picture[]} kept while other views are shown, the newest first */
let pictures = [];

/** @param {HTMLElement} place @param {AbortSignal} signal */
export function show(place, signal) {
  let board = new AbortController(); // of camera or drawing
  const settings = h("div", { class: "settings" });
  const tool = h("div", { class: "tool" });
  const list = h("ol", { class: "results", "aria-label": t("try.results"), "aria-live": "polite" });
  const code = h("div");
  const chooser = h("input", { type: "file", multiple: true, accept: "image/*", class: "hidden", id: "files", tabIndex: -1, "aria-label": t("try.choose"), on: { change: () => (add([...chooser.files]), (chooser.value = ""), list.firstElementChild?.scrollIntoView({ block: "nearest" })) } });
  const zone = h(
    "div", { class: "zone" },
    h("div", { class: "zone-text" }, icon("file"), h("p", {}, t("try.drop")), h("p", { class: "small muted" }, t("try.formats"))),
    h("div", { class: "row sources" },
      button(t("try.choose"), () => chooser.click(), { class: "primary", icon: "file" }),
      button(t("try.camera"), () => openTool("camera"), { class: "ghost", icon: "camera" }),
      button(t("try.draw"), () => openTool("draw"), { class: "ghost", icon: "draw" })),
    chooser,
  );
  fill(
    place,
    h("h1", {}, t("try.title")),
    h("p", { class: "lead" }, t("try.lead")),
    h("div", { class: "columns" },
      h("section", { class: "side", "aria-label": t("try.input") }, settings, h("div", { class: "card" }, zone, tool), code),
      h("section", { class: "wide", "aria-label": t("try.results") }, list)),
  );

  const redraw = () => {
    const model = chosen();
    if (!model) return fill(settings, nothingServed());
    const most = (model.info?.labels ?? []).length || 1;
    fill(
      settings, modelChoice(),
      isIndependent(model)
        ? h("p", { class: "small muted" }, t("try.independent", { threshold: thresholds(model) }))
        : field("top-k", t("try.topk"), h("input", {
          id: "top-k", type: "number", min: 1, max: most, value: Math.min(store.topK, most),
          on: { change: (/** @type {any} */ event) => ((store.topK = Math.max(1, Math.min(most, Number(event.target.value) || 5))), again()) },
        })),
      h("p", { class: "small muted" }, inputText(model)),
    );
    fill(code, asCode(model.name, store.version, isIndependent(model) ? 0 : Math.min(store.topK, most)));
  };
  const again = () => {
    redraw();
    run(pictures.slice(0, AT_ONCE));
  };
  let name = chosen()?.name;
  changes.addEventListener("models", () => {
    redraw();
    if (chosen()?.name !== name) closeTool();
    name = chosen()?.name;
    drawList();
  }, { signal });
  changes.addEventListener("choice", () => {
    closeTool();
    again();
  }, { signal });

  const over = (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    zone.classList.toggle("over", event.type === "dragover");
  };
  place.addEventListener("dragover", over);
  place.addEventListener("dragleave", over);
  place.addEventListener("drop", (event) => {
    over(event);
    add([...(event.dataTransfer?.files ?? [])]);
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) add(files);
  }, { signal });
  signal.addEventListener("abort", () => board.abort());

  const askLost = () => run(pictures.filter((each) => each.isLost && !busy.has(each)));
  whenBack(askLost, signal);

  redraw();
  drawList();
  askLost();

  function closeTool() {
    board.abort();
    board = new AbortController();
    fill(tool);
  }

  async function openTool(/** @type {"camera" | "draw"} */ which) {
    const model = chosen();
    if (!model) return;
    closeTool();
    if (which === "camera") {
      const { camera } = await import("./camera.js");
      fill(tool, camera((image) => add([new File([image], t("camera.name"), { type: image.type })]), board.signal));
    } else {
      const { drawingBoard } = await import("./draw.js");
      let picture = /** @type {Picture | null} */ (null);
      fill(tool, drawingBoard(model, (image) => {
        // One drawing is one picture, however often it changes.
        if (picture && pictures[0] === picture) replace(picture, image);
        else picture = add([new File([image], t("draw.name"), { type: "image/png" })])[0];
      }));
    }
    tool.querySelector("canvas, video")?.scrollIntoView({ block: "nearest" });
  }

  function add(/** @type {File[]} */ files) {
    const added = files.slice(0, SHOWN).map((file) => ({ name: file.name, blob: file, url: URL.createObjectURL(file) }));
    if (!added.length) return added;
    pictures = [...added, ...pictures];
    keep(added[0]);
    for (const old of pictures.splice(SHOWN)) URL.revokeObjectURL(old.url);
    drawList();
    run(added);
    return added;
  }

  /** For the other views. */
  function keep(/** @type {Picture} */ picture) {
    [store.image, store.imageName] = [picture.blob, picture.name];
  }

  function replace(/** @type {Picture} */ picture, /** @type {Blob} */ image) {
    URL.revokeObjectURL(picture.url);
    picture.blob = image;
    picture.url = URL.createObjectURL(image);
    picture.pixels = undefined;
    keep(picture);
    if (!busy.has(picture)) run([picture]);
    else late.add(picture);
  }

  function drawList() {
    if (!pictures.length) return fill(list, h("li", { class: "empty" }, chosen() ? t("try.none") : ""));
    fill(list, pictures.map((each) => cards.get(each) ?? drawCard(each)));
  }

  async function run(/** @type {Picture[]} */ some) {
    const model = chosen();
    if (!model || !some.length) return;
    for (const group of groups(some)) {
      for (const each of group) {
        busy.add(each);
        cards.get(each)?.setAttribute("aria-busy", "true");
      }
      const began = performance.now();
      try {
        const answer = await classify(model.name, store.version, group.map((each) => each.blob), isIndependent(model) ? 0 : Math.min(store.topK, model.info.labels.length));
        const roundTripMs = performance.now() - began;
        group.forEach((each, index) => {
          const result = answer.results[index];
          // Another model prepares the image in its own way.
          if (each.model !== answer.model || each.version !== answer.version) each.pixels = undefined;
          Object.assign(each, { result, error: result.error?.message, isLost: false, timing: answer.timing, roundTripMs, version: answer.version, model: answer.model });
        });
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        group.forEach((each) => Object.assign(each, { result: undefined, error: error.message, isLost: state === "gone" || error.status === 401 }));
      }
      group.forEach((each) => busy.delete(each));
      group.forEach(drawCard);
      const changed = group.filter((each) => late.delete(each));
      if (changed.length) await run(changed);
      for (const each of group.slice(0, SEEN_AT_ONCE)) if (!each.error && !each.pixels) await look(each);
    }
  }

  async function look(/** @type {Picture} */ picture) {
    const { blob, model, version } = picture;
    const isCurrent = () => picture.blob === blob && picture.model === model && picture.version === version;
    try {
      const found = await explain(model ?? store.name, version ?? 0, blob, {});
      if (isCurrent()) picture.pixels = found.image;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (isCurrent()) picture.pixels = { why: error.message };
    }
    drawCard(picture);
  }

  function drawCard(/** @type {Picture} */ picture) {
    const card = cards.get(picture) ?? h("li", { class: "card result" });
    cards.set(picture, card);
    const best = picture.result?.classes?.[0];
    card.setAttribute("aria-busy", String(busy.has(picture) || late.has(picture)));
    fill(
      card,
      h("div", { class: "pair" },
        h("figure", {}, h("img", { src: picture.url, alt: picture.name, on: { error: (/** @type {any} */ event) => event.target.replaceWith(h("div", { class: "no-picture" }, icon("file"))) } }),
          h("figcaption", {}, picture.name, h("span", { class: "muted" }, ` ${size(picture.blob.size)}`))),
        seenFigure(picture)),
      h("div", { class: "said" },
        picture.error ? h("p", { class: "problem", role: "alert" }, picture.error) : null,
        best ? h("h2", {}, h("span", {}, best.label), h("span", { class: "muted" }, percent(best.probability)), picture.result?.known === false ? h("span", { class: "pill" }, t("result.unknown")) : null) : null,
        picture.result?.known === false ? h("p", { class: "small muted" }, t("result.unknown-is")) : null,
        picture.result?.classes ? classBars(picture.result.classes) : null,
        picture.result || picture.error ? null : h("p", { class: "muted" }, h("span", { class: "spinner" }), t("try.asking")),
        picture.timing && !picture.error ? timingStrip(picture.timing, picture.roundTripMs ?? 0) : null,
        picture.error ? null : h("p", { class: "row small" },
          h("span", { class: "muted" }, picture.model ? t("result.by", { model: picture.model, version: picture.version ?? 0 }) : ""),
          picture.model ? h("a", { href: `#models/${encodeURIComponent(`${picture.model}/${picture.version}`)}` }, t("result.prepared")) : null,
          h("a", { href: "#inside", on: { click: () => keep(picture) } }, t("result.inside"), icon("right")))),
    );
    return card;
  }

  function seenFigure(/** @type {Picture} */ picture) {
    if (picture.error) return null;
    const { pixels } = picture;
    if (pixels?.why) return h("figure", { class: "seen" }, h("p", { class: "small muted" }, pixels.why));
    if (!pixels) return h("figure", { class: "seen" }, picture.result ? button(t("result.look"), () => look(picture), { class: "ghost small" }) : null);
    const shown = seen(pixels);
    shown.setAttribute("role", "img");
    shown.setAttribute("aria-label", t("result.seen"));
    shown.className = pixels.width < 100 ? "pixelated" : "";
    return h("figure", { class: "seen" }, shown, h("figcaption", {}, t("result.seen"), h("span", { class: "muted" }, ` ${pixels.width} × ${pixels.height}`)));
  }
}

/** @type {WeakMap<Picture, HTMLElement>} */
const cards = new WeakMap();
/** @type {Set<Picture>} being asked about */
const busy = new Set();
/** @type {Set<Picture>} that changed meanwhile */
const late = new Set();

/** @param {Picture[]} some @returns {Picture[][]} as many together as one request should have */
function groups(some) {
  /** @type {Picture[][]} */
  const found = [];
  let bytes = Infinity;
  for (const each of some) {
    if (bytes + each.blob.size > AT_ONCE_BYTES || found[found.length - 1].length >= AT_ONCE) {
      found.push([]);
      bytes = 0;
    }
    found[found.length - 1].push(each);
    bytes += each.blob.size;
  }
  return found;
}

/** @param {import("./api.js").Model} model @returns {string} */
function thresholds(model) {
  const given = model.info.thresholds ?? [];
  const [least, most] = given.length ? [Math.min(...given), Math.max(...given)] : [0.5, 0.5];
  return least === most ? number(least, 3) : `${number(least, 3)}–${number(most, 3)}`;
}

/** @param {import("./api.js").Model} model @returns {string} */
function inputText(model) {
  const input = model.info?.input;
  return input ? t("try.takes", { width: input.width, height: input.height, colours: t(input.channels === 1 ? "colour.grey" : "colour.rgb"), classes: number(model.info.labels.length) }) : "";
}
