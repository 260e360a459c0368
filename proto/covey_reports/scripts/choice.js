// @ts-check
/** Of several pictures one is shown: the one that is chosen, the same in each place that offers the choice. */
import { all, make } from "./dom.js";

const places = all(".choice");

/** @param {number} chosen */
function show(chosen) {
  for (const place of places) {
    all(".option", place).forEach((option, at) => (option.hidden = at !== chosen));
    all(".controls button", place).forEach((button, at) => button.setAttribute("aria-pressed", String(at === chosen)));
  }
}

for (const place of places) {
  const controls = make("div", { className: "controls", role: "group", ariaLabel: place.dataset.what }, make("span", {}, place.dataset.what));
  all(".option", place).forEach((option, at) => {
    controls.append(make("button", { type: "button", onclick: () => show(at) }, option.dataset.name));
    const folded = option.querySelector("details");
    folded?.replaceWith(...[...folded.childNodes].filter((each) => each.nodeName !== "SUMMARY"));
  });
  place.prepend(controls);
}
show(0);
