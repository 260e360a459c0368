// @ts-check
/**
 * A training report within the page. It may be anybody's file: it is read as data, in a shadow tree of its own, without
 * scripts, frames, links to styles or handlers; the page's policy keeps it from loading anything.
 */
import { h } from "./dom.js";

const UNWANTED =
  "script, style, iframe, object, embed, link, meta, base, form, template, button, input, textarea, select, animate, set";
const SCRIPT = /^(javascript|data|vbscript):/i;

/** @param {string} text HTML @returns {HTMLElement} */
export function report(text) {
  let css = "";
  // The page's policy forbids styles within HTML, even where it is only read: they are taken out before.
  const plain = text
    .replace(/<style[^>]*>([\s\S]*?)<\/style>/gi, (_, sheet) => ((css += `${sheet}\n`), ""))
    .replace(/(<[a-z][^<>]*?\s)style=/gi, "$1data-css=");
  const read = new DOMParser().parseFromString(plain, "text/html");
  read.querySelectorAll(UNWANTED).forEach((each) => each.remove());
  const place = h("div", { class: "report" });
  const tree = place.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`:host { display: block; } ${scoped(css)} .report-body { max-width: none; padding: 0; }`);
  tree.adoptedStyleSheets = [sheet];
  const body = h("div", { class: "report-body" });
  body.append(...read.body.childNodes);
  for (const each of /** @type {NodeListOf<HTMLElement>} */ (body.querySelectorAll("*"))) {
    const style = each.getAttribute("data-css");
    for (const { name, value } of [...each.attributes]) {
      // Browsers read past spaces and control characters in an address.
      const isScript = SCRIPT.test(value.replace(/[\u0000-\u0020]/g, "")) && !(/^(img|image)$/i.test(each.tagName) && /^data:image\//.test(value));
      if (name.startsWith("on") || name === "data-css" || name === "ping" || isScript) each.removeAttribute(name);
    }
    if (style) each.style.cssText = style;
    if (each.tagName === "A" && !each.getAttribute("href")?.startsWith("#")) Object.assign(each, { rel: "noopener noreferrer", target: "_blank" });
  }
  body.addEventListener("click", (/** @type {any} */ event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (!link) return;
    event.preventDefault(); // the page's address names its view
    tree.getElementById(link.getAttribute("href").slice(1))?.scrollIntoView({ behavior: "smooth" });
  });
  tree.append(body);
  return h("div", { class: "report-frame" }, place);
}

/** Styles for a whole page as styles for the tree. @param {string} css @returns {string} */
function scoped(css) {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark"
    || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  return css
    .replace(/\(prefers-color-scheme: dark\)/g, dark ? "all" : "not all")
    .replace(/@media not all/g, "@media not all")
    .replace(/:root/g, ":host")
    .replace(/(^|[\s,}])(?:html|body)(?=\s*[,{])/g, "$1.report-body");
}
