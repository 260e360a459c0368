// @ts-check
/** Tables are sorted by the column whose head is clicked: numbers from the largest on, then the other way round. */
import { all, make } from "./dom.js";

const FEWEST = 3; // rows of which an order says something

/** @param {string} text @returns {number} NaN where it does not begin with a number */
const number = (text) => parseFloat(text.replace(/\u2212/g, "-").replace(/[,+<>]/g, ""));

/** @param {HTMLTableElement} table @param {number} column @param {boolean} rises */
function sort(table, column, rises) {
  const body = table.tBodies[0];
  const key = (/** @type {HTMLTableRowElement} */ row) => row.cells[column].textContent?.trim() ?? "";
  const rows = [...body.rows].sort((one, other) => {
    const [left, right] = [key(one), key(other)];
    const [low, high] = [number(left), number(right)];
    if (Number.isNaN(low) !== Number.isNaN(high)) return Number.isNaN(low) ? 1 : -1; // without a number: last
    return (rises ? 1 : -1) * (Number.isNaN(low) ? left.localeCompare(right) : low - high);
  });
  body.append(...rows);
}

for (const table of /** @type {HTMLTableElement[]} */ (all("table.sortable"))) {
  const heads = /** @type {HTMLTableCellElement[]} */ ([...(table.tHead?.rows[0]?.cells ?? [])]);
  if (table.tBodies[0].rows.length < FEWEST) continue;
  heads.forEach((head, column) => {
    if (!head.textContent?.trim()) return;
    const button = make("button", { type: "button", className: "sort" }, ...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rises = head.ariaSort ? head.ariaSort === "descending" : !head.classList.contains("number");
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rises ? "ascending" : "descending");
      sort(table, column, rises);
    });
  });
}
