// @ts-check
/** The answer for one image: its classes as bars, and where the time went. */
import { h } from "./dom.js";
import { duration, percent, t } from "./text.js";

/** @param {import("./api.js").Class[]} classes @returns {HTMLElement} */
export function classBars(classes) {
  if (!classes.length) return h("p", { class: "muted" }, t("result.nothing"));
  return h(
    "ol", { class: "bars" },
    classes.map((each, place) =>
      h("li", { class: place ? "" : "best" },
        h("span", { class: "label", title: each.label }, each.label),
        h("span", { class: "track" }, h("span", { class: "bar", style: { width: `${Math.max(0.4, each.probability * 100)}%` } })),
        h("span", { class: "figure" }, percent(each.probability)),
      ),
    ),
  );
}

/** @param {import("./api.js").Timing} timing @param {number} roundTripMs @returns {HTMLElement} */
export function timingStrip(timing, roundTripMs) {
  const total = timing.total_us || 1;
  const parts = /** @type {const} */ (["decode", "queue", "compute"]);
  return h(
    "div", { class: "timing" },
    h("div", { class: "strip", role: "img", "aria-label": t("timing.label") },
      parts.map((part) => h("span", { class: `part ${part}`, style: { "flex-grow": String((timing[`${part}_us`] ?? 0) / total) } }))),
    h("ul", { class: "legend" },
      parts.map((part) => h("li", {}, h("span", { class: `dot ${part}` }), `${t(`timing.${part}`)} ${duration(timing[`${part}_us`] ?? 0)}`))),
    h("p", { class: "small muted" }, t("timing.sum", {
      total: duration(total), batch: timing.batch_size ?? 1, device: timing.device ?? "", round: duration(roundTripMs * 1000),
    })),
  );
}
