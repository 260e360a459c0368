// @ts-check
/** The network in three dimensions: each layer's maps as planes behind one another, from the image to the answer. */
import { canvas } from "./digits.js";
import { button, fill, h } from "./dom.js";
import { named, paintMap, watchUnits } from "./tiles.js";
import { t } from "./text.js";

const PLANES = 10; // of one layer
const MOST_GROUPS = 12; // layers, spread over the network
const DEPTH = 20; // pixels between two planes
const GAP = 58; // between two layers
const [LEAST, MOST] = [40, 176]; // pixels of a plane's side
const TAG = 92; // pixels that a layer's name needs
const NARROW = 640;
const START = { turn: -27, tilt: -12 };

const PLAIN = ["activation", "flatten", "scaling", "other"]; // kinds that the row shows, and that would only fill this view

/**
 * @param {import("./tiles.js").Layer[]} layers those that have maps @param {string[]} labels
 * @param {(unit: import("./tiles.js").Place) => void} pick @param {(layer: number) => void} open
 * @param {(text: string, event: PointerEvent | null) => void} tell
 */
export function scene(layers, labels, pick, open, tell) {
  // A narrow window sees the network from its beginning, where it takes less room.
  const start = { ...START, turn: window.innerWidth < NARROW ? -64 : START.turn };
  let { turn, tilt } = start;
  let zoom = 1;
  let width = 0;
  const telling = layers.filter((layer) => !PLAIN.includes(layer.kind));
  const step = Math.max(1, (telling.length - 1) / (MOST_GROUPS - 1));
  const shownLayers = telling.filter((_, at) => Math.round(Math.round(at / step) * step) === at);
  const world = h("div", { class: "world" });
  const stage = h("div", { class: "stage", tabIndex: 0, role: "group", "aria-label": t("inside.scene") }, world);
  const element = h(
    "div", { class: "scene" }, stage,
    h("div", { class: "scene-tools" },
      button("↺", () => move(-15, 0), { class: "quiet", "aria-label": t("inside.left"), title: t("inside.left") }),
      button("↻", () => move(15, 0), { class: "quiet", "aria-label": t("inside.right"), title: t("inside.right") }),
      button("+", () => ((zoom *= 1.2), place()), { class: "quiet", "aria-label": t("inside.nearer"), title: t("inside.nearer") }),
      button("−", () => ((zoom /= 1.2), place()), { class: "quiet", "aria-label": t("inside.farther"), title: t("inside.farther") }),
      button(t("inside.reset"), () => (({ turn, tilt } = start), (zoom = 1), place()), { class: "quiet" })),
  );
  /** @type {Map<number, {planes: HTMLCanvasElement[], group: HTMLElement, maps: import("./tiles.js").Maps | null}>} */
  const groups = new Map();
  for (const layer of shownLayers) {
    const group = h("div", { class: "group" });
    groups.set(layer.index, { planes: [], group, maps: null });
    world.append(group);
  }
  new ResizeObserver(place).observe(stage);
  turnByPointer();
  return { element, update };

  function update(/** @type {Map<number, import("./tiles.js").Maps>} */ all) {
    const isNew = [...groups].some(([index, { maps }]) => {
      const found = all.get(index);
      return Boolean(found) && (maps?.channels.length !== found?.channels.length || maps?.width !== found?.width);
    });
    for (const [index, each] of groups) each.maps = all.get(index) ?? each.maps;
    if (isNew) build();
    for (const { planes, maps } of groups.values()) if (maps) planes.forEach((plane, at) => paintMap(maps, at, plane));
  }

  function build() {
    const most = Math.max(...layers.map((layer) => Math.max(layer.shape[1] ?? 1, layer.shape[2] ?? 1)));
    width = 0;
    for (const layer of shownLayers) {
      const known = groups.get(layer.index);
      if (!known?.maps) continue;
      const { maps, group } = known;
      const side = maps.isVector ? (maps.width === 1 ? 16 * Math.min(12, maps.height) : LEAST + 5 * Math.sqrt(maps.length)) : LEAST + (MOST - LEAST) * Math.sqrt(Math.max(maps.width, maps.height) / most);
      const scale = side / Math.max(maps.width, maps.height);
      const count = Math.min(PLANES, maps.channels.length);
      known.planes = Array.from({ length: count }, (_, at) => {
        const plane = canvas(maps.width, maps.height);
        plane.className = "map plane";
        plane.style.width = `${maps.width * scale}px`;
        plane.style.height = `${maps.height * scale}px`;
        plane.style.transform = `translate(-50%, -50%) translateZ(${((count - 1) / 2 - at) * DEPTH}px)`;
        watchUnits(plane, () => (known.maps ? { layer, maps: known.maps, at } : null), labels, (unit) => !wasTurned && pick(unit), tell);
        return plane;
      });
      const span = Math.max(TAG, maps.width * scale);
      const name = h("button", { type: "button", class: "tag", tabIndex: -1, on: { click: () => open(layer.index) } }, named(layer), h("br"), h("span", { class: "muted" }, layer.shape.join(" × ")));
      name.style.transform = `translate(-50%, ${(maps.height * scale) / 2 + 12}px) translateZ(${((count - 1) / 2) * DEPTH}px)`;
      fill(group, known.planes, name);
      group.style.transform = `translateX(${width + span / 2}px)`;
      width += span + GAP;
    }
    place();
  }

  function place() {
    // All of it is to be seen, in a frame that is as wide as it may be.
    const fit = Math.min(1.3, (stage.clientWidth - 60) / Math.max(1, width * 1.17 * Math.cos((start.turn * Math.PI) / 180))) * zoom;
    world.style.transform = `scale(${fit}) rotateX(${tilt}deg) rotateY(${turn}deg) translateX(${-(width - GAP) / 2}px)`;
  }

  /** @type {boolean} */
  var wasTurned = false;

  function move(/** @type {number} */ aside, /** @type {number} */ up) {
    turn += aside;
    tilt = Math.max(-80, Math.min(80, tilt + up));
    place();
  }

  function turnByPointer() {
    /** @type {{x: number, y: number} | null} */
    let from = null;
    stage.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
      from = { x: event.clientX, y: event.clientY };
      wasTurned = false;
    });
    window.addEventListener("pointermove", (event) => {
      if (!from || !event.buttons) return (from = null);
      const [aside, up] = [event.clientX - from.x, event.clientY - from.y];
      if (!wasTurned && Math.abs(aside) + Math.abs(up) < 5) return undefined;
      wasTurned = true;
      move(aside * 0.4, -up * 0.3);
      from = { x: event.clientX, y: event.clientY };
      return undefined;
    });
    stage.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const step = /** @type {Record<string, [number, number]>} */ ({ ArrowLeft: [-8, 0], ArrowRight: [8, 0], ArrowUp: [0, 6], ArrowDown: [0, -6] })[event.key];
      if (!step || event.target !== stage) return;
      event.preventDefault();
      move(...step);
    });
  }
}
