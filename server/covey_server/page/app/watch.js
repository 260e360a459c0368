// @ts-check
/** Watch: what the server does right now, from the counts of /metrics. */
import { watch } from "./api.js";
import { columnChart, timeChart } from "./charts.js";
import { fill, h } from "./dom.js";
import { batchSizes, moment, reloads, servedModels } from "./figures.js";
import { field } from "./model_choice.js";
import { refreshModels } from "./store.js";
import { number, size, t } from "./text.js";

const KEPT = 120; // snapshots
const BATCHES_S = 30; // over which batch sizes are counted

/** @type {import("./figures.js").Snapshot[]} kept while other views are shown */
let history = [];
let only = "";

/** @param {HTMLElement} place @param {AbortSignal} signal */
export function show(place, signal) {
  const names = ["rate", "latency", "where", "batches", "queue", "process"];
  const charts = Object.fromEntries(names.map((name) => [name, h("div", { class: "card chart", data: { chart: name } })]));
  const numbers = h("dl", { class: "numbers" });
  const table = h("div", { class: "card scroll" });
  const choice = h("div", { class: "settings row" });
  fill(
    place,
    h("h1", {}, t("watch.title")),
    h("p", { class: "lead" }, t("watch.lead")),
    choice, numbers,
    h("h2", { class: "hidden" }, t("watch.charts")),
    h("div", { class: "charts" }, Object.values(charts)),
    table,
    h("p", { class: "small muted" }, t("watch.source"), " ", h("a", { href: "/metrics" }, "/metrics")),
  );
  history = history.filter((each) => each.time > Date.now() / 1000 - KEPT);
  drawChoice();
  draw();
  watch("/v1/watch", take, signal);

  function take(/** @type {import("./figures.js").Snapshot} */ snapshot) {
    const last = history[history.length - 1];
    // Counts that went down are those of another process.
    if (last && snapshot.process_start_time_seconds && JSON.stringify(snapshot.process_start_time_seconds) !== JSON.stringify(last.process_start_time_seconds)) history = [];
    history.push(snapshot);
    if (history.length > KEPT) history.shift();
    if (last && reloads(last, snapshot).length) {
      refreshModels().catch(() => {}); // the frame tells what is wrong
      drawChoice();
    }
    if (history.length === 1) drawChoice();
    if (!document.hidden) draw();
  }

  function drawChoice() {
    const last = history[history.length - 1];
    const models = last ? [...new Set(servedModels(last).map((each) => each.model))] : [];
    if (only && last && !models.includes(only)) only = "";
    fill(choice, field("watch-model", t("choice.model"), h("select", { id: "watch-model", on: { change: (/** @type {any} */ event) => ((only = event.target.value), draw()) } },
      h("option", { value: "" }, t("watch.all")),
      models.map((name) => h("option", { value: name, selected: name === only }, name)))));
  }

  function draw() {
    /** @type {Record<string, string>} */
    const labels = only ? { model: only } : {};
    /** @type {(import("./figures.js").Moment | null)[]} */
    const moments = history.slice(1).map((each, at) => moment(history[at], each, labels));
    const shown = [...new Array(Math.max(0, KEPT - moments.length)).fill(null), ...moments];
    const offset = KEPT - moments.length;
    const marks = history.slice(1).flatMap((each, at) => {
      const found = reloads(history[at], each).filter((change) => !only || change.model === only);
      // A version that leaves for another one says nothing of its own.
      const told = found.filter(({ model, result }) => result !== "unloaded" || !found.some((one) => one.model === model && one.result === "loaded"));
      const text = told.map(({ model, result }) => t(`watch.${result}`, { model })).join(", ");
      return text ? [{ at: at + offset, text }] : [];
    });
    const line = (/** @type {string} */ name, /** @type {string} */ tone, /** @type {keyof import("./figures.js").Moment} */ key) =>
      ({ name, tone, values: shown.map((each) => (each ? /** @type {number | null} */ (each[key]) : null)) });
    const now = moments[moments.length - 1];
    fill(numbers, [
      [t("watch.rate"), now ? number(now.perSecond, now.perSecond < 10 ? 1 : 0) : "–", "rate"],
      [t("watch.errors"), now ? number(now.errors, 1) : "–", "errors"],
      [t("watch.p50"), now?.p50 ? `${number(now.p50, 2)} ms` : "–", "p50"],
      [t("watch.p99"), now?.p99 ? `${number(now.p99, 2)} ms` : "–", "p99"],
      [t("watch.batch"), now?.batch ? number(now.batch, 1) : "–", "batch"],
      [t("watch.waiting"), now ? number(now.waiting) : "–", "waiting"],
    ].map(([name, figure, key]) => h("div", { data: { figure: key } }, h("dt", {}, name), h("dd", {}, figure))));
    timeChart(charts.rate, { title: t("watch.rates"), unit: "/s", length: KEPT, marks, lines: [line(t("watch.answered"), "a", "perSecond"), line(t("watch.failed"), "bad", "errors")] });
    timeChart(charts.latency, { title: t("watch.latency"), unit: "ms", length: KEPT, marks, note: t("watch.buckets"), lines: [line("p50", "a", "p50"), line("p90", "b", "p90"), line("p99", "c", "p99")] });
    timeChart(charts.where, { title: t("watch.where"), unit: "ms", length: KEPT, marks, stacked: true, lines: [line(t("timing.decode"), "decode", "decode"), line(t("timing.queue"), "queue", "queue"), line(t("timing.compute"), "compute", "compute")] });
    timeChart(charts.queue, { title: t("watch.queue"), unit: "", length: KEPT, marks, lines: [line(t("watch.images"), "a", "waiting"), line(t("watch.calls"), "b", "inFlight")] });
    timeChart(charts.process, { title: t("watch.cpu"), unit: t("watch.cores"), length: KEPT, marks, note: now ? t("watch.memory", { size: size(now.memory) }) : undefined, lines: [line(t("watch.cpu"), "a", "cpu")] });
    drawBatches(labels);
    drawTable();
  }

  function drawBatches(/** @type {Record<string, string>} */ labels) {
    const last = history[history.length - 1];
    const first = history[Math.max(0, history.length - 1 - BATCHES_S)];
    const found = last ? batchSizes(first, last, labels) : { bounds: [], counts: [], count: 0 };
    columnChart(charts.batches, {
      title: t("watch.batches"), unit: t("watch.batches-of", { seconds: BATCHES_S }), format: (each) => `${number(each, each < 10 ? 1 : 0)} %`,
      columns: found.bounds.map((bound, at) => ({
        name: bound === Infinity ? `> ${found.bounds[at - 1]}` : at && found.bounds[at - 1] + 1 < bound ? `${found.bounds[at - 1] + 1}–${bound}` : String(bound),
        value: found.count ? (found.counts[at] / found.count) * 100 : 0,
      })),
    });
  }

  function drawTable() {
    const last = history[history.length - 1];
    if (!last) return fill(table, h("p", { class: "muted" }, h("span", { class: "spinner" }), t("watch.waits")));
    const before = history[Math.max(0, history.length - 2)];
    fill(table, h("table", {}, h("caption", {}, t("watch.table")),
      h("thead", {}, h("tr", {}, ["choice.model", "choice.version", "watch.device", "watch.rate", "watch.errors", "watch.p50", "watch.p99", "watch.batch"].map((key, at) => h("th", { scope: "col", class: at > 2 ? "number" : "" }, t(key))))),
      h("tbody", {}, servedModels(last).map(({ model, version, device }) => {
        const own = moment(before, last, { model, version });
        const ms = (/** @type {number | null} */ each) => (each === null ? "–" : `${number(each, 2)} ms`);
        return h("tr", {}, h("th", { scope: "row" }, model), h("td", {}, version), h("td", {}, device),
          [number(own.perSecond, 1), number(own.errors, 1), ms(own.p50), ms(own.p99), own.batch === null ? "–" : number(own.batch, 1)].map((each) => h("td", { class: "number" }, each)));
      }))));
  }
}
