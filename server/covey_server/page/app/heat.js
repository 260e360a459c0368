// @ts-check
/** Which class a heat map is of, how it was made, and what its colours mean. */
import { fill, h } from "./dom.js";
import { duration, number, t } from "./text.js";

/**
 * @param {string[]} labels of the model @param {(chosen: string) => void} choose is told "top" or the number of a class
 */
export function heatChoice(labels, choose) {
  const likely = h("optgroup", { label: t("heat.likely") });
  const select = h("select", { on: { change: () => (choose(select.value), select.blur()) } }, h("option", { value: "top" }, t("inside.heat-top")), likely);
  const note = h("p", { class: "small muted" });
  const element = h("div", { class: "heat-choice" }, h("label", { class: "small" }, t("inside.heat-of"), " ", select), note);
  let shown = 0;

  return {
    element,
    making() {
      note.textContent = t("heat.making");
    },
    /** @param {import("./api.js").Class[]} classes the most probable @param {string} chosen @param {any} map undefined: none */
    update(classes, chosen, map) {
      if (labels.length > classes.length && !shown) {
        select.append(h("optgroup", { label: t("heat.all") }, labels.map((each, index) => h("option", { value: index }, each))));
        shown = labels.length;
      }
      if (document.activeElement !== select) {
        fill(likely, classes.map((each) => h("option", { value: each.index }, each.label)));
        select.value = chosen;
      }
      const label = map && (labels[map.class_index] ?? map.class_index);
      note.textContent = map ? t(`heat.${map.method}`, { label, images: number(map.images ?? 0), time: duration(map.compute_us) }) : "";
    },
  };
}
