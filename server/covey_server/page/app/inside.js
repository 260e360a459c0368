// @ts-check
/** Look inside: the image's way through one network or two, on the explanations of the server. */
import { whenBack } from "./api.js";
import { button, fill, h } from "./dom.js";
import { field, modelChoice, nothingServed } from "./model_choice.js";
import { pane } from "./pane.js";
import { movable } from "./picture.js";
import { changes, chosen, served, store } from "./store.js";
import { number, t } from "./text.js";

const TERMS = ["convolution", "padding", "stride", "sharing", "pooling", "flatten", "fully_connected", "dropout", "softmax", "cross_entropy"];
const RATE_OVER_MS = 1000;

let other = ""; // the model that is compared, "name/version"
let strength = 0.6;

/** @param {HTMLElement} place @param {AbortSignal} signal */
export function show(place, signal) {
  const settings = h("div", { class: "settings row" });
  const source = h("div", { class: "card source" });
  const tool = h("div", { class: "tool" });
  const panes = h("div", { class: "panes" });
  const rate = h("p", { class: "small muted", role: "status", data: { figure: "updates" } });
  const tooltip = h("div", { class: "tooltip", hidden: true });
  const chooser = h("input", { type: "file", accept: "image/*", class: "hidden", tabIndex: -1, id: "inside-file", "aria-label": t("try.choose"), on: { change: () => choose(chooser.files[0]) } });
  /** @type {ReturnType<typeof pane>[]} */
  let shown = [];
  /** @type {((aside: number, down: number) => Promise<Blob>) | null} */
  let move = null;
  let [aside, down] = [0, 0];
  let boards = new AbortController();

  fill(
    place,
    h("h1", {}, t("inside.title")),
    h("p", { class: "lead" }, t("inside.lead")),
    settings, source, panes,
    h("details", { class: "card terms-list" }, h("summary", {}, t("inside.terms")),
      h("dl", {}, TERMS.map((term) => h("div", {}, h("dt", {}, t(`term.${term}`)), h("dd", {}, t(`term.${term}.is`)))))),
    tooltip,
  );
  fill(
    source,
    h("div", { class: "row" },
      button(t("try.choose"), () => chooser.click(), { class: "ghost", icon: "file" }),
      button(t("try.draw"), drawOne, { class: "ghost", icon: "draw" }),
      button(t("inside.centre"), () => (([aside, down] = [0, 0]), update(true)), { class: "ghost" }),
      field("heat-strength", t("inside.heat"), h("input", { id: "heat-strength", type: "range", min: 0, max: 100, value: strength * 100, on: { input: (/** @type {any} */ event) => ((strength = event.target.value / 100), shown.forEach((each) => each.heat(strength))) } })),
      rate),
    h("p", { class: "small muted" }, t("inside.drag")),
    chooser, tool,
  );
  place.addEventListener("dragover", (event) => event.preventDefault());
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    const file = event.dataTransfer?.files[0];
    choose(file);
  });
  document.addEventListener("paste", (event) => {
    const file = event.clipboardData?.files[0];
    choose(file);
  }, { signal });
  changes.addEventListener("models", () => (drawSettings(), shown.length ? undefined : rebuild()), { signal });
  changes.addEventListener("choice", rebuild, { signal });
  whenBack(rebuild, signal);
  signal.addEventListener("abort", () => boards.abort());
  rebuild();

  function drawSettings() {
    if (!chosen()) return fill(settings, nothingServed());
    fill(settings, modelChoice(),
      field("compare", t("inside.compare"), h("select", { id: "compare", on: { change: (/** @type {any} */ event) => ((other = event.target.value), rebuild()) } },
        h("option", { value: "" }, t("inside.nobody")),
        served().filter((each) => each !== chosen()).map((each) => h("option", { value: `${each.name}/${each.version}`, selected: other === `${each.name}/${each.version}` }, `${each.name} ${each.version}`)))));
  }

  async function rebuild() {
    drawSettings();
    boards.abort();
    boards = new AbortController();
    fill(tool);
    const models = [chosen(), served().find((each) => `${each.name}/${each.version}` === other)].filter((each) => each !== undefined);
    shown = models.map((model) => pane(model, { drag, tell, answered, signal: boards.signal }));
    fill(panes, shown.map((each) => each.element));
    panes.classList.toggle("two", shown.length > 1);
    if (store.image) await use(store.image);
    else if (chosen()) drawOne();
  }

  function choose(/** @type {File | undefined} */ file) {
    if (!file) return;
    fill(tool);
    use(file);
  }

  async function use(/** @type {Blob | undefined} */ image) {
    if (!image) return;
    store.image = image;
    [aside, down] = [0, 0];
    move = null;
    shown.forEach((each) => each.ask(image, true));
    try {
      move = await movable(image);
    } catch {
      // it is no image that browsers show: it is explained where it lies, or refused by the server
    }
  }

  function drag(/** @type {number} */ right, /** @type {number} */ under, /** @type {boolean} */ ended) {
    if (!move) return;
    aside = Math.max(-1, Math.min(1, aside + right));
    down = Math.max(-1, Math.min(1, down + under));
    update(ended);
  }

  async function update(/** @type {boolean} */ isWhole) {
    if (!move || !store.image) return;
    const image = aside || down ? await move(aside, down) : store.image;
    shown.forEach((each) => each.ask(image, isWhole));
  }

  async function drawOne() {
    const model = chosen();
    if (!model) return;
    const { drawingBoard } = await import("./draw.js");
    fill(tool, drawingBoard(model, (image) => use(new File([image], t("draw.name"), { type: "image/png" }))));
  }

  /** @type {number[]} */
  let answers = [];
  function answered() {
    const now = performance.now();
    answers = [...answers.filter((each) => now - each < RATE_OVER_MS), now];
    rate.textContent = answers.length > 2 ? t("inside.rate", { n: number(answers.length / shown.length) }) : "";
    rate.dataset.count = String(Math.max(answers.length, Number(rate.dataset.count ?? 0)));
  }

  function tell(/** @type {string} */ text, /** @type {PointerEvent | null} */ event) {
    tooltip.hidden = !text || !event;
    if (!event) return;
    tooltip.textContent = text;
    tooltip.style.left = `${Math.min(window.innerWidth - 220, event.clientX + 14)}px`;
    tooltip.style.top = `${event.clientY + 16}px`;
  }
}

