// @ts-check
/** The choice of a model and of its version, which all views share. */
import { state } from "./api.js";
import { h } from "./dom.js";
import { choose, chosen, served, store } from "./store.js";
import { t } from "./text.js";

/** @returns {HTMLElement} draws itself anew when it has to; see `redraw` in the views */
export function modelChoice() {
  const names = [...new Set(served().map((each) => each.name))];
  const versions = served().filter((each) => each.name === store.name);
  return h(
    "div", { class: "choices" },
    field("choose-model", t("choice.model"), h(
      "select", { id: "choose-model", on: { change: (/** @type {any} */ event) => choose(event.target.value, 0) } },
      names.map((name) => h("option", { value: name, selected: name === store.name }, name)),
    )),
    versions.length > 1
      ? field("choose-version", t("choice.version"), h(
        "select", { id: "choose-version", on: { change: (/** @type {any} */ event) => choose(store.name, Number(event.target.value)) } },
        h("option", { value: 0, selected: store.version === 0 }, t("choice.highest", { version: versions[0].version })),
        versions.map((each) => h("option", { value: each.version, selected: each.version === store.version }, each.version)),
      ))
      : null,
  );
}

/** @param {string} id @param {string} label @param {HTMLElement} control @returns {HTMLElement} */
export function field(id, label, control) {
  return h("div", { class: "field" }, h("label", { htmlFor: id }, label), control);
}

/** What a view shows where no model is served. @returns {HTMLElement | null} */
export function nothingServed() {
  if (chosen() || state !== "ready") return null; // else the frame says why nothing is known
  const refused = store.models.length;
  return h("div", { class: "empty" }, h("p", {}, refused ? t("choice.refused") : t("choice.none")),
    refused ? h("a", { href: "#models" }, t("nav.models")) : null);
}
