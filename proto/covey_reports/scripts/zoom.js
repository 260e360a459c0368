// @ts-check
/** Images of sheets at a large size, with their words; the arrow keys lead to their neighbours. */
import { all, make, say } from "./dom.js";

const dialog = make("dialog", { className: "zoom" });
document.body.append(dialog);
/** @type {HTMLElement | null} */
let shown = null;

/** @param {HTMLElement} tile @param {number} step @returns {HTMLElement | undefined} the tile so many places further */
function neighbour(tile, step) {
  const tiles = /** @type {HTMLElement[]} */ ([...(tile.parentElement?.children ?? [])].filter((each) => !(/** @type {HTMLElement} */ (each).hidden)));
  return tiles[tiles.indexOf(tile) + step];
}

/** @param {HTMLElement} tile */
function show(tile) {
  shown = tile;
  const image = /** @type {HTMLImageElement} */ (tile.querySelector("img"));
  const words = all("b, span", tile).map((each) => make("p", {}, each.textContent));
  const step = (/** @type {string} */ text, /** @type {number} */ by) => make("button", { type: "button", disabled: !neighbour(tile, by), onclick: () => move(by) }, text);
  const close = make("button", { type: "button", onclick: () => dialog.close() }, say("Close"));
  const large = make("img", { src: image.src, alt: image.alt, className: image.className });
  large.style.setProperty("--shape", `${image.getAttribute("width")} / ${image.getAttribute("height")}`);
  dialog.replaceChildren(large, make("p", { className: "quiet" }, image.alt), ...words, make("p", { className: "controls" }, step(say("Previous"), -1), step(say("Next"), 1), close));
  dialog.setAttribute("aria-label", image.alt);
  if (!dialog.open) dialog.showModal();
  close.focus();
}

/** @param {number} by */
function move(by) {
  const next = shown && neighbour(shown, by);
  if (next) show(next);
}

dialog.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  if (event.key === "ArrowLeft") move(-1);
  if (event.key === "ArrowRight") move(1);
});
dialog.addEventListener("click", (/** @type {MouseEvent} */ event) => event.target === dialog && dialog.close());
dialog.addEventListener("close", () => shown?.querySelector("img")?.focus());

/** @param {Event} event @returns {HTMLElement | null} */
const tileOf = (event) => /** @type {Element} */ (event.target).closest(".sheet img")?.closest("li") ?? null;
document.addEventListener("click", (event) => {
  const tile = tileOf(event);
  if (tile) show(tile);
});
document.addEventListener("keydown", (event) => {
  const tile = tileOf(event);
  if (!tile) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    show(tile);
    return;
  }
  const next = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const image = next && neighbour(tile, next)?.querySelector("img");
  if (!image) return;
  event.preventDefault();
  tile.querySelector("img")?.setAttribute("tabindex", "-1");
  image.tabIndex = 0;
  image.focus();
});

/** One stop of the tab key for each sheet; within it the arrow keys. @param {Element} sheet */
function makeFocusable(sheet) {
  const images = sheet.querySelectorAll("img");
  images.forEach((image, at) => {
    image.tabIndex = at ? -1 : 0;
    image.setAttribute("role", "button");
  });
}
for (const sheet of all(".sheet")) {
  makeFocusable(sheet);
  new MutationObserver(() => makeFocusable(sheet)).observe(sheet, { childList: true });
}
