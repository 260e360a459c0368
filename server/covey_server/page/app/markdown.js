// @ts-check
/** The part of Markdown that model cards use, as elements: headings, paragraphs, lists, tables, code, bold, links. */
import { h } from "./dom.js";

/** @param {string} text @returns {HTMLElement} */
export function markdown(text) {
  const place = h("div", { class: "markdown" });
  const lines = text.replace(/^---\n[\s\S]*?\n---\n/, "").replace(/<!--[\s\S]*?-->/g, "").split("\n");
  for (let at = 0; at < lines.length; ) {
    const line = lines[at];
    const heading = /^(#{1,4}) (.*)/.exec(line);
    if (!line.trim()) at++;
    else if (heading) {
      place.append(h(`h${heading[1].length + 1}`, {}, inline(heading[2])));
      at++;
    } else if (line.startsWith("```")) {
      const end = lines.findIndex((each, place) => place > at && each.startsWith("```"));
      const stop = end < 0 ? lines.length : end;
      place.append(h("pre", {}, h("code", {}, lines.slice(at + 1, stop).join("\n"))));
      at = stop + 1;
    } else if (line.startsWith("|")) at = table(place, lines, at);
    else if (/^[-*] /.test(line)) {
      const list = h("ul");
      for (; at < lines.length && /^([-*] | {2,}\S)/.test(lines[at]); at++)
        if (/^[-*] /.test(lines[at])) list.append(h("li", {}, inline(lines[at].slice(2))));
        else list.lastChild?.append(" ", ...inline(lines[at].trim()));
      place.append(list);
    } else {
      const start = at;
      while (at < lines.length && lines[at].trim() && !/^(#{1,4} |```|\||[-*] )/.test(lines[at])) at++;
      place.append(h("p", {}, inline(lines.slice(start, Math.max(at, start + 1)).join(" "))));
      at = Math.max(at, start + 1);
    }
  }
  return place;
}

/** @param {HTMLElement} place @param {string[]} lines @param {number} at @returns {number} */
function table(place, lines, at) {
  const rows = [];
  for (; at < lines.length && lines[at].startsWith("|"); at++) rows.push(lines[at].replace(/^\||\|\s*$/g, "").split("|").map((each) => each.trim()));
  const [head, second, ...rest] = rows;
  const hasHead = second?.every((each) => /^:?-+:?$/.test(each));
  const body = hasHead ? rest : rows;
  place.append(h("div", { class: "scroll" }, h("table", {},
    hasHead && head.some(Boolean) ? h("thead", {}, h("tr", {}, head.map((each) => h("th", { scope: "col" }, inline(each))))) : null,
    h("tbody", {}, body.map((row) => h("tr", {}, row.map((each) => h("td", {}, inline(each)))))))));
  return at;
}

/** @param {string} text @returns {(Node | string)[]} */
function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\(https?:[^)\s]+\))/).map((part) => {
    if (part.startsWith("`") && part.length > 2) return h("code", {}, part.slice(1, -1));
    if (part.startsWith("**") && part.length > 4) return h("strong", {}, part.slice(2, -2));
    const link = /^\[([^\]]+)\]\((https?:[^)\s]+)\)$/.exec(part);
    return link ? h("a", { href: link[2], rel: "noopener noreferrer", target: "_blank" }, link[1]) : part;
  });
}
