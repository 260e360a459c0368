// @ts-check
/** The page's words, in the language that the visitor chose. */
import english from "./en.js";

const KEPT = "covey-language";
export const LANGUAGES = { en: "English", zh: "中文" };

/** @type {Record<string, string>} */
let words = english;
/** @type {[RegExp, string][]} what the server says of layers, in that language */
let phrases = [];
export let language = "en";

/** Loads the visitor's language: the one chosen before, else the browser's. @returns {Promise<void>} */
export async function loadLanguage() {
  const wanted = localStorage.getItem(KEPT) ?? navigator.language.slice(0, 2);
  await useLanguage(wanted in LANGUAGES ? wanted : "en", false);
}

/** @param {string} name @param {boolean} [keep] @returns {Promise<void>} */
export async function useLanguage(name, keep = true) {
  const chinese = name === "zh" ? await import("./zh.js") : null;
  words = chinese?.default ?? english;
  phrases = chinese?.phrases ?? [];
  language = name;
  if (keep) localStorage.setItem(KEPT, name);
  document.documentElement.lang = name === "zh" ? "zh-Hans" : name;
}

/**
 * A text by its key, its {places} filled in.
 * @param {string} key @param {Record<string, string | number>} [values] @returns {string}
 */
export function t(key, values = {}) {
  const text = words[key] ?? english[/** @type {keyof typeof english} */ (key)] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** What the server says of a layer, in the visitor's language. @param {string} sentence @returns {string} */
export function told(sentence) {
  return phrases.reduce((text, [pattern, phrase]) => text.replace(pattern, phrase), sentence);
}

/** @param {string} key @returns {boolean} */
export function hasText(key) {
  return key in english;
}

/** @param {number} value @param {number} [digits] @returns {string} */
export function number(value, digits = 0) {
  return value.toLocaleString(language, { maximumFractionDigits: digits, minimumFractionDigits: 0 });
}

/** @param {number} value 0 to 1 @returns {string} */
export function percent(value) {
  const digits = value > 0.9995 && value < 1 ? 3 : value < 0.001 && value > 0 ? 3 : 1;
  return `${(value * 100).toLocaleString(language, { maximumFractionDigits: digits, minimumFractionDigits: 1 })} %`;
}

/** @param {number} us @returns {string} microseconds in a fitting unit */
export function duration(us) {
  if (us < 1000) return `${number(us, us < 10 ? 1 : 0)} µs`;
  if (us < 1e6) return `${number(us / 1000, us < 1e4 ? 2 : 1)} ms`;
  return `${number(us / 1e6, 2)} s`;
}

/** @param {number} bytes @returns {string} */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1e6) return `${number(bytes / 1e3, 1)} kB`;
  if (bytes < 1e9) return `${number(bytes / 1e6, 1)} MB`;
  return `${number(bytes / 1e9, 2)} GB`;
}

/** A measured value, short. @param {number} value @returns {string} */
export function value(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1000 || size < 0.001 ? value.toExponential(2) : value.toPrecision(4).replace(/\.?0+$/, "");
}
