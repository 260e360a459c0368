// @ts-check
/** The frame around the views: navigation, language, colours, token, and whether the server is there. */
import { Problem, events, setToken, state, token, whenBack, whyDenied } from "./api.js";
import { button, fill, h } from "./dom.js";
import { refreshModels } from "./store.js";
import { LANGUAGES, language, loadLanguage, t, useLanguage } from "./text.js";

/** @typedef {(place: HTMLElement, signal: AbortSignal) => void} View draws itself into a place, until the signal. */

/** @type {Record<string, () => Promise<{show: View}>>} */
const VIEWS = {
  try: () => import("./try.js"),
  inside: () => import("./inside.js"),
  watch: () => import("./watch.js"),
  models: () => import("./models.js"),
};
const THEME = "covey-theme";
const THEMES = ["auto", "light", "dark"];
const RETRY_MS = 1500; // between two tries to load a view
const LOOK_MS = 10_000; // between two looks at the models

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
let leave = new AbortController();
let asksForToken = false;

const viewName = () => {
  const name = location.hash.slice(1).split("/")[0];
  return name in VIEWS ? name : "try";
};

async function showView() {
  leave.abort();
  leave = new AbortController();
  const name = viewName();
  const { signal } = leave;
  drawFrame();
  /** @type {{show: View} | null} */
  let view = null;
  while (!view) {
    try {
      view = await VIEWS[name]();
    } catch {
      // The server is gone, and this view's module was not loaded before.
      if (!signal.aborted) fill(main, h("p", { class: "empty" }, t("error.gone")));
      look();
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
    if (signal.aborted) return;
  }
  const place = h("div", { class: `view view-${name}` });
  fill(main, place);
  view.show(place, signal);
}

function drawFrame() {
  document.title = `${t(`nav.${viewName()}`)} · Covey`;
  const skip = /** @type {HTMLElement} */ (document.getElementById("skip"));
  skip.textContent = t("skip");
  const nav = /** @type {HTMLElement} */ (document.getElementById("nav"));
  nav.setAttribute("aria-label", t("nav.label"));
  fill(
    nav,
    Object.keys(VIEWS).map((name) =>
      h("a", { href: `#${name}`, "aria-current": name === viewName() ? "page" : undefined }, t(`nav.${name}`)),
    ),
  );
  drawTools();
  drawNotice();
}

function drawTools() {
  const theme = localStorage.getItem(THEME) ?? "auto";
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  fill(
    /** @type {HTMLElement} */ (document.getElementById("tools")),
    h("span", { class: `state state-${state}`, role: "img", "aria-label": t(`state.${state}`), title: t(`state.${state}`) }),
    h(
      "select",
      {
        class: "plain",
        "aria-label": t("language"),
        on: { change: async (/** @type {any} */ event) => (await useLanguage(event.target.value), showView()) },
      },
      Object.entries(LANGUAGES).map(([code, name]) => h("option", { value: code, selected: code === language }, name)),
    ),
    button("", () => (localStorage.setItem(THEME, next), useTheme(), drawTools()), {
      class: "quiet", icon: "theme", title: t(`theme.${theme}`), "aria-label": t(`theme.${theme}`),
    }),
    button("", () => ((asksForToken = !asksForToken), drawNotice()), {
      class: `quiet${token() ? " on" : ""}`, icon: "key", title: t("token.open"), "aria-label": t("token.open"),
    }),
  );
}

function useTheme() {
  const theme = localStorage.getItem(THEME) ?? "auto";
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

function drawNotice() {
  const place = /** @type {HTMLElement} */ (document.getElementById("notice"));
  if (state === "gone") fill(place, h("p", { class: "notice bad" }, h("span", { class: "spinner" }), t("error.gone")));
  else if (state === "denied" || asksForToken) {
    const label = place.querySelector("label"); // a form that is being filled in stays
    if (label) label.textContent = whyToken();
    else fill(place, tokenForm());
  }
  else fill(place);
}

const whyToken = () => (state === "denied" ? whyDenied() : t("token.why"));

function tokenForm() {
  const field = h("input", {
    type: "password", id: "token", autocomplete: "off", spellcheck: false, value: token(), placeholder: t("token.example"),
  });
  const use = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setToken(field.value.trim());
    asksForToken = false;
    await look();
    if (state !== "denied") showView();
    else drawFrame();
  };
  return h(
    "form", { class: "notice token", on: { submit: use } },
    h("label", { htmlFor: "token" }, whyToken()),
    h("div", { class: "row" }, field, h("button", { type: "submit", class: "primary" }, t("token.use"))),
    h("p", { class: "small muted" }, t("token.kept")),
  );
}

/** Looks at the models; what is wrong is told by the frame. */
async function look() {
  try {
    await refreshModels();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
  }
}

events.addEventListener("state", drawFrame);
whenBack(look);
events.addEventListener("token", drawNotice);
window.addEventListener("hashchange", showView);
document.getElementById("skip")?.addEventListener("click", (event) => {
  event.preventDefault(); // "#main" is no view
  main.focus();
});

useTheme();
await loadLanguage();
drawFrame();
await Promise.all([showView(), look()]);
setInterval(() => {
  if (!document.hidden && state === "ready") look();
}, LOOK_MS);
