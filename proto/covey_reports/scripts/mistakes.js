// @ts-check
/** The sheet of mistakes by class and in another order. Without this script all of it is there, in one order. */
import { all, make, say } from "./dom.js";

const SHOWN = 40; // at first

/** @param {HTMLElement} place holds sheets, and the names of the classes that occur */
function control(place) {
  /** @type {Record<string, string>} */
  const labels = JSON.parse(place.dataset.labels ?? "{}");
  const tiles = /** @type {HTMLElement[]} */ (all("li", place));
  const number = (/** @type {HTMLElement} */ tile, /** @type {string} */ name) => Number(tile.dataset[name]);
  const orders = {
    [say("most confident first")]: (/** @type {HTMLElement} */ one, /** @type {HTMLElement} */ other) => number(other, "confidence") - number(one, "confidence"),
    [say("least confident first")]: (/** @type {HTMLElement} */ one, /** @type {HTMLElement} */ other) => number(one, "confidence") - number(other, "confidence"),
    [say("true class")]: (/** @type {HTMLElement} */ one, /** @type {HTMLElement} */ other) => number(one, "true") - number(other, "true"),
    [say("predicted class")]: (/** @type {HTMLElement} */ one, /** @type {HTMLElement} */ other) => number(one, "predicted") - number(other, "predicted"),
  };
  const select = (/** @type {[string, string][]} */ options) => make("select", { onchange: () => show(SHOWN) }, ...options.map(([value, text]) => make("option", { value }, text)));
  const classes = (/** @type {string} */ name) => {
    const there = [...new Set(tiles.map((tile) => number(tile, name)))].sort((one, other) => one - other);
    return select([["", say("any")], .../** @type {[string, string][]} */ (there.map((each) => [String(each), labels[each]]))]);
  };
  const [truth, predicted] = [classes("true"), classes("predicted")];
  const order = select(/** @type {[string, string][]} */ (Object.keys(orders).map((name) => [name, name])));
  const said = make("p", { role: "status", className: "quiet" });
  const sheet = make("ul", { className: "sheet" });
  const more = make("button", { type: "button", onclick: () => show(tiles.length) });
  const show = (/** @type {number} */ most) => {
    const chosen = tiles.filter((tile) => ["", tile.dataset.true].includes(truth.value) && ["", tile.dataset.predicted].includes(predicted.value));
    chosen.sort(orders[/** @type {keyof typeof orders} */ (order.value)]);
    sheet.replaceChildren(...chosen); // those out of sight stay in the page: the matrix shows them
    chosen.forEach((tile, at) => (tile.hidden = at >= most));
    rest.replaceChildren(...tiles.filter((tile) => !chosen.includes(tile)));
    said.textContent = say("{shown} of {all} shown", { shown: Math.min(most, chosen.length), all: chosen.length });
    more.textContent = say("Show all {all}", { all: chosen.length });
    more.hidden = chosen.length <= most;
  };
  const rest = make("ul", { hidden: true });
  const controls = make("p", { className: "controls" }, make("label", {}, say("true"), " ", truth), make("label", {}, say("predicted"), " ", predicted), make("label", {}, say("order"), " ", order));
  place.replaceChildren(controls, said, sheet, make("p", { className: "controls" }, more), rest);
  show(SHOWN);
}

for (const place of all(".mistakes")) control(place);
