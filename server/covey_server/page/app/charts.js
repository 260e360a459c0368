// @ts-check
/** Charts as SVG: their colours are CSS, so that they follow light and dark. */
import { fill, h, s } from "./dom.js";
import { number } from "./text.js";

const HEIGHT = 180;
const LEFT = 46;
const BOTTOM = 20;
const TOP = 12;

/**
 * @typedef {{name: string, tone: string, values: (number | null)[]}} Line
 * @typedef {{at: number, text: string}} Mark `at`: the place among the values
 */

/** The width of what is drawn, so that text has its size. @param {Element} place @returns {number} */
function inside(place) {
  const { paddingLeft, paddingRight } = getComputedStyle(place);
  return Math.max(220, place.clientWidth - (parseFloat(paddingLeft) || 0) - (parseFloat(paddingRight) || 0)); // none: not shown yet
}

/** @param {number} most @returns {number[]} about four round steps from 0, which two decimals tell exactly */
function steps(most) {
  if (!(most > 0)) return [0, 1];
  const rough = Math.max(most, 0.03) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough) ?? rough;
  const found = [0];
  while (found[found.length - 1] < most) found.push(found.length * step);
  return found;
}

/**
 * Lines, or areas on each other, over time; the newest at the right.
 * @param {Element} place @param {{title: string, unit: string, lines: Line[], length: number, marks?: Mark[], stacked?: boolean, note?: string, seconds?: number, format?: (value: number) => string}} chart
 */
export function timeChart(place, chart) {
  const { lines, length, stacked, marks = [] } = chart;
  const width = inside(place);
  const format = chart.format ?? ((/** @type {number} */ each) => number(each, each < 10 ? 2 : 0));
  const sums = Array.from({ length }, (_, at) => lines.reduce((total, line) => total + (line.values[at] ?? 0), 0));
  const most = stacked ? Math.max(0, ...sums) : Math.max(0, ...lines.flatMap((line) => line.values.map((each) => each ?? 0)));
  const ticks = steps(most);
  const top = ticks[ticks.length - 1];
  const x = (/** @type {number} */ at) => LEFT + ((width - LEFT - 6) * at) / Math.max(1, length - 1);
  const y = (/** @type {number} */ each) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - each / top);
  const parts = ticks.map((each) => [
    s("line", { class: "grid", x1: LEFT, x2: width - 6, y1: y(each), y2: y(each) }),
    s("text", { class: "tick", x: LEFT - 8, y: y(each) + 4, "text-anchor": "end" }, format(each)),
  ]).flat();
  const below = new Array(length).fill(0);
  const drawn = lines.map((line) => {
    if (stacked) {
      const upper = line.values.map((each, at) => below[at] + (each ?? 0));
      const path = `M${upper.map((each, at) => `${x(at)},${y(each)}`).join("L")}L${[...below.keys()].reverse().map((at) => `${x(at)},${y(below[at])}`).join("L")}Z`;
      upper.forEach((each, at) => (below[at] = each));
      return s("path", { class: `area ${line.tone}`, d: path });
    }
    return s("path", { class: `line ${line.tone}`, d: broken(line.values, x, y) });
  });
  const stamps = marks.filter((mark) => mark.at >= 0).map((mark) => s("g", { class: "mark" },
    s("line", { x1: x(mark.at), x2: x(mark.at), y1: TOP, y2: HEIGHT - BOTTOM }),
    s("text", { x: x(mark.at) + (mark.at > length * 0.75 ? -5 : 5), y: TOP + 9, "text-anchor": mark.at > length * 0.75 ? "end" : "start" }, mark.text)));
  const latest = lines.map((line) => [...line.values].reverse().find((each) => each !== null) ?? null);
  fill(
    place,
    h("div", { class: "chart-head" }, h("h3", {}, chart.title),
      h("ul", { class: "legend" }, lines.map((line, at) => h("li", {}, lines.length > 1 ? h("span", { class: `dot ${line.tone}` }) : null,
        lines.length > 1 ? `${line.name} ` : "", h("b", {}, latest[at] === null ? "–" : format(/** @type {number} */ (latest[at]))), ` ${chart.unit}`)))),
    s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${chart.title}: ${lines.map((line, at) => `${line.name} ${latest[at] === null ? "–" : format(/** @type {number} */ (latest[at]))} ${chart.unit}`).join(", ")}` },
      parts, drawn, stamps,
      s("text", { class: "tick", x: LEFT, y: HEIGHT - 4 }, `−${length} s`),
      s("text", { class: "tick", x: width - 6, y: HEIGHT - 4, "text-anchor": "end" }, "0 s")),
    chart.note ? h("p", { class: "small muted" }, chart.note) : null,
  );
}

/** @param {(number | null)[]} values @param {(at: number) => number} x @param {(each: number) => number} y @returns {string} */
function broken(values, x, y) {
  let path = "";
  let pen = "M";
  values.forEach((each, at) => {
    if (each === null) return (pen = "M");
    path += `${pen}${x(at).toFixed(1)},${y(each).toFixed(1)}`;
    return (pen = "L");
  });
  // A single value between gaps would be no line at all.
  return path.replace(/M([\d.]+),([\d.]+)(?=M|$)/g, "M$1,$2h0.1");
}

/**
 * Columns by name. @param {Element} place
 * @param {{title: string, columns: {name: string, value: number}[], format?: (value: number) => string, note?: string, unit?: string}} chart
 */
export function columnChart(place, chart) {
  const format = chart.format ?? ((/** @type {number} */ each) => number(each, 1));
  const width = inside(place);
  const most = Math.max(1e-12, ...chart.columns.map((each) => each.value));
  const step = (width - 12) / Math.max(1, chart.columns.length);
  const every = Math.ceil((6.5 * Math.max(...chart.columns.map((each) => each.name.length), 1) + 6) / step); // names that fit
  fill(
    place,
    h("div", { class: "chart-head" }, h("h3", {}, chart.title), chart.unit ? h("p", { class: "small muted" }, chart.unit) : null),
    s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${chart.title}: ${chart.columns.map((each) => `${each.name}: ${format(each.value)}`).join(", ")}` },
      s("line", { class: "grid", x1: 6, x2: width - 6, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }),
      chart.columns.map((each, at) => {
        const height = ((HEIGHT - TOP - BOTTOM - 14) * each.value) / most;
        const middle = 6 + step * (at + 0.5);
        return s("g", {},
          s("rect", { class: "column", x: middle - Math.min(32, step * 0.36), width: Math.min(64, step * 0.72), y: HEIGHT - BOTTOM - height, height, rx: 3 }),
          each.value ? s("text", { class: "tick strong", x: middle, y: HEIGHT - BOTTOM - height - 5, "text-anchor": "middle" }, format(each.value)) : "",
          at % every ? "" : s("text", { class: "tick", x: middle, y: HEIGHT - 4, "text-anchor": "middle" }, each.name));
      })),
    chart.note ? h("p", { class: "small muted" }, chart.note) : null,
  );
}
