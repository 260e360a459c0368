// @ts-check
/** Models: what is served, what is refused and why, and what is known of each. */
import { Problem, modelFile, modelFilePath, modelFiles, state, token } from "./api.js";
import { columnChart } from "./charts.js";
import { button, fill, h } from "./dom.js";
import { changes, choose, chosen, isIndependent, store } from "./store.js";
import { duration, number, percent, size, t } from "./text.js";

let opened = "";

/** @param {import("./api.js").Model} model */
const key = (model) => `${model.name}/${model.version}`;

/** @param {HTMLElement} place @param {AbortSignal} signal */
export function show(place, signal) {
  const list = h("ul", { class: "models" });
  const detail = h("section", { class: "wide detail", "aria-live": "polite", "aria-label": t("models.detail") });
  fill(place, h("h1", {}, t("models.title")), h("p", { class: "lead" }, t("models.lead")),
    h("div", { class: "columns" }, h("section", { class: "side", "aria-label": t("models.title") }, list), detail));
  const asked = decodeURIComponent(location.hash.split("/").slice(1).join("/"));
  if (asked) opened = asked;
  changes.addEventListener("models", draw, { signal });
  draw();

  function draw() {
    if (!store.models.length) return fill(list, state === "ready" ? h("li", { class: "empty" }, t("choice.none")) : null);
    if (!store.models.some((each) => key(each) === opened)) opened = key(chosen() ?? store.models[0]);
    fill(list, store.models.map((each) => h("li", {},
      h("button", { type: "button", class: "card model", "aria-pressed": String(key(each) === opened), on: { click: () => ((opened = key(each)), draw(), detail.scrollIntoView({ block: "nearest" })) } },
        h("span", { class: "name" }, each.name, h("span", { class: "muted" }, ` ${each.version || ""}`), roles(each)),
        h("span", { class: `pill ${each.state === "STATE_READY" ? "good" : "bad"}` }, t(each.state === "STATE_READY" ? "models.served" : "models.refused")),
        h("span", { class: "small muted" }, each.state === "STATE_READY" ? oneLine(each) : each.reason)))));
    const model = store.models.find((each) => key(each) === opened);
    if (model) describe(detail, model);
  }
}

/** @param {import("./api.js").Model} model @returns {string} */
function oneLine(model) {
  const { training, labels } = model.info;
  const parts = [training?.network, t("models.classes", { n: number(labels.length) })];
  if (training?.test_images) parts.push(t("models.right", { share: percent(training.test_accuracy) }));
  return parts.filter(Boolean).join(" · ");
}

/** What a version is chosen for. @param {import("./api.js").Model} model @returns {HTMLElement[]} */
function roles(model) {
  const isOneOfSeveral = store.models.filter((each) => each.name === model.name && each.state === "STATE_READY").length > 1;
  return [
    model.is_default ? "models.default" : model.is_default_version && isOneOfSeveral ? "models.default-version" : "",
    model.canary === "CANARY_UNSPECIFIED" ? "" : `models.${model.canary}`,
    model.is_shadow ? "models.shadow" : "",
  ].filter(Boolean).map((each) => h("span", { class: "pill" }, t(each)));
}

/** @param {HTMLElement} place @param {import("./api.js").Model} model */
function describe(place, model) {
  const files = h("div", { class: "row" });
  const open = h("div", { class: "opened" });
  const confusion = h("div");
  const curve = h("div", { class: "chart" });
  const { info, serving } = model;
  fill(
    place,
    h("h2", {}, model.name, h("span", { class: "muted" }, ` ${t("models.version", { version: model.version })}`), roles(model)),
    model.canary_reason ? h("p", { class: "small" }, t(`models.${model.canary}`), ": ", model.canary_reason) : null,
    model.state === "STATE_READY"
      ? h("p", { class: "row" },
        h("a", { class: "button primary", href: "#try", on: { click: () => choose(model.name, model.version) } }, t("nav.try")),
        h("a", { class: "button ghost", href: "#inside", on: { click: () => choose(model.name, model.version) } }, t("nav.inside")))
      : null,
    model.reason ? h("p", { class: "problem", role: "alert" }, model.reason) : null,
    info ? h("div", { class: "facts-columns" },
      section(t("models.about"), facts([
        [t("models.network"), info.training?.network],
        [t("models.data"), info.training?.dataset],
        [t("models.accuracy"), info.training?.test_images ? t("models.accuracy-of", { accuracy: percent(info.training.test_accuracy), images: number(info.training.test_images) }) : ""],
        [t("models.recipe"), info.training?.recipe ? t("models.epochs", { recipe: info.training.recipe, epochs: info.training.epochs }) : ""],
        [t("models.parameters"), info.training?.parameters ? number(info.training.parameters) : ""],
        [t("models.precision"), info.build?.precision || "float32"],
        [t("models.answer"), t(isIndependent(model) ? "models.independent" : "models.exclusive")],
        [t("models.made"), info.build?.created ? new Date(info.build.created).toLocaleString(document.documentElement.lang) : ""],
        [t("models.versions"), versions(info.build)],
      ])),
      section(t("models.input"), contract(info.input)),
      serving ? section(t("models.serving"), facts([
        [t("watch.device"), [serving.device, serving.device_fallback].filter(Boolean).join(": ")],
        [t("models.golden"), t("models.golden-is", { difference: serving.golden_difference.toExponential(1) })],
        [t("models.load"), duration(serving.load_ms * 1000)],
        [t("models.memory"), size(serving.memory_bytes)],
        [t("models.batch"), t("models.batch-is", { images: serving.max_batch_size })],
        [t("models.threads"), t("models.threads-are", { workers: serving.workers, threads: serving.threads })],
      ])) : null,
      serving?.batch_curve?.length > 1 ? h("section", { class: "card" }, curve) : null,
      section(t("models.labels"), labels(info.labels)),
    ) : null,
    confusion,
    files, open,
  );
  if (serving?.batch_curve?.length > 1)
    columnChart(curve, {
      title: t("models.curve"), unit: t("models.curve-of"), format: (each) => duration(each),
      columns: serving.batch_curve.map((/** @type {any} */ each) => ({ name: String(each.batch_size), value: each.run_us / each.batch_size })),
    });
  findFiles(model, files, open, confusion);
}

/** @param {string} title @param {HTMLElement} content */
const section = (title, content) => h("section", { class: "card" }, h("h3", {}, title), content);

/** @param {[string, any][]} rows @returns {HTMLElement} */
const facts = (rows) => h("dl", { class: "facts" }, rows.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

/** @param {any} build @returns {string} */
function versions(build) {
  if (!build) return "";
  return [["Covey", build.covey_version], ["PyTorch", build.torch_version], ["ONNX", build.onnx_version], ["opset", build.opset]]
    .filter(([, value]) => value).map(([name, value]) => `${name} ${value}`).join(", ");
}

/** What is done with an image before the network, in order. @param {any} input @returns {HTMLElement} */
function contract(input) {
  const numbers = (/** @type {number[]} */ list) => list.map((each) => number(each, 4)).join(", ");
  const steps = [
    t(input.ignore_exif ? "contract.no-exif" : "contract.exif"),
    t("contract.background", { colour: input.background || t("contract.own") }),
    t(input.channels === 1 ? "contract.grey" : "contract.rgb"),
    t(`contract.${input.resize}`, { width: input.width, height: input.height, crop: percent(input.crop || 1), to: input.resize_to, pad: input.pad || "#000000" }),
    t("contract.interpolation", { name: t(`contract.${input.interpolation}`) }),
    input.mean.length ? t("contract.normal", { mean: numbers(input.mean), std: numbers(input.std) }) : "",
  ];
  return h("div", {}, h("ol", { class: "steps" }, steps.filter(Boolean).map((each) => h("li", {}, each))), h("p", { class: "small muted" }, t("contract.same")));
}

/** @param {string[]} all @returns {HTMLElement} */
function labels(all) {
  const list = h("ol", { class: "labels", start: 0 });
  const draw = (/** @type {string} */ wanted) => {
    const found = all.map((label, index) => ({ label, index })).filter(({ label }) => label.toLowerCase().includes(wanted.toLowerCase()));
    fill(list, found.slice(0, 200).map(({ label, index }) => h("li", { value: index }, label)), found.length > 200 ? h("li", { class: "muted" }, t("models.more", { n: number(found.length - 200) })) : null);
  };
  draw("");
  return h("div", {}, all.length > 20 ? h("input", { type: "search", "aria-label": t("models.find"), placeholder: t("models.find"), on: { input: (/** @type {any} */ event) => draw(event.target.value) } }) : null, list);
}

/**
 * Offers the report and the card where there are any, and draws the confusion of the report's numbers.
 * @param {import("./api.js").Model} model @param {HTMLElement} files @param {HTMLElement} open @param {HTMLElement} confusion
 */
async function findFiles(model, files, open, confusion) {
  const offer = (/** @type {string} */ name, /** @type {string} */ text, /** @type {(text: string) => Promise<HTMLElement>} */ read) =>
    button(text, async () => {
      fill(open, h("section", { class: "card" }, await read(await (await modelFile(model, name)).text())));
      open.scrollIntoView({ block: "start" });
    }, { class: "ghost", icon: "file" });
  try {
    const found = await modelFiles(model);
    fill(files,
      found.includes("report.html") ? offer("report.html", t("models.report"), async (text) => h("div", {}, h("p", {}, wholeReport(model, text)), (await import("./report.js")).report(text))) : h("p", { class: "small muted" }, t("models.no-report")),
      found.includes("MODEL_CARD.md") ? offer("MODEL_CARD.md", t("models.card"), async (text) => (await import("./markdown.js")).markdown(text)) : null);
    if (found.includes("report.json")) drawConfusion(confusion, await (await modelFile(model, "report.json")).json());
    else if (found.includes("verification.json")) drawClasses(confusion, (await (await modelFile(model, "verification.json")).json()).per_class_accuracy ?? {});
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    fill(files, h("p", { class: "small muted" }, error.message));
  }
}

/**
 * Leads to a report with its script, which does not run within the page: to the file itself or, where the server would
 * want the token for that, to a copy of it.
 * @param {import("./api.js").Model} model @param {string} text of the report @returns {HTMLElement}
 */
function wholeReport(model, text) {
  if (!token()) return h("a", { href: modelFilePath(model, "report.html"), rel: "noopener noreferrer", target: "_blank" }, t("models.report-alone"));
  const copy = URL.createObjectURL(new Blob([text], { type: "text/html" }));
  return h("a", { href: copy, download: `${model.name}-${model.version}-report.html` }, t("models.report-save"));
}

/** @param {HTMLElement} place @param {Record<string, number>} classes */
function drawClasses(place, classes) {
  const entries = Object.entries(classes);
  if (!entries.length || entries.length > 40) return;
  const chart = h("section", { class: "card chart" });
  fill(place, chart);
  columnChart(chart, { title: t("models.per-class"), format: (each) => number(each, 0), unit: "%", columns: entries.map(([name, value]) => ({ name, value: value * 100 })) });
}

const MOST_SHOWN = 30; // classes in a confusion matrix

/** @param {HTMLElement} place @param {any} found as report.json has it */
function drawConfusion(place, found) {
  const names = /** @type {string[]} */ (found.labels);
  if (names.length > MOST_SHOWN) return;
  const table = names.map(() => names.map(() => 0));
  for (const [truth, said, images] of found.confusion) table[truth][said] = images;
  const bins = (found.calibration?.bins ?? []).filter((/** @type {any} */ each) => each.images);
  const calibration = h("section", { class: "card chart" });
  fill(place, h("div", { class: "facts-columns" },
    h("section", { class: "card scroll" }, h("h3", {}, t("models.confusion")),
      h("table", { class: "confusion" }, h("caption", {}, t("models.confusion-how")),
        h("thead", {}, h("tr", {}, h("td"), names.map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, table.map((row, truth) => {
          const total = row.reduce((a, b) => a + b, 0) || 1;
          return h("tr", {}, h("th", { scope: "row" }, names[truth]), row.map((images, said) =>
            h("td", { class: truth === said ? "right" : "wrong", style: { "--share": String(images / total) } }, images || "")));
        })))),
    bins.length ? calibration : null));
  if (bins.length)
    columnChart(calibration, {
      title: t("models.calibration"), note: t("models.calibration-how"), format: (each) => number(each, 0), unit: "%",
      columns: bins.map((/** @type {any} */ each) => ({ name: number(each.confidence * 100), value: each.accuracy * 100 })),
    });
}
