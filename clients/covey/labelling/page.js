// The page of `covey label`: shows the image that the model was least sure of, and takes a key for its class.
// @ts-check

/**
 * @typedef {{label: string, key: string}} Class
 * @typedef {{file: string, predicted: string, probability: number | null, why: string}} Current
 * @typedef {{folder: string, classes: Class[], decided: number, waiting: number, current: Current | null}} State
 */

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const search = /** @type {HTMLInputElement} */ (element("search"));

/** @type {State | null} */
let state = null;
let busy = false;
let ended = false;

/** @param {string} text */
const say = (text) => { element("message").textContent = text; };

/** @param {State} next */
function show(next) {
  state = next;
  const { current, decided, waiting } = next;
  element("folder").textContent = next.folder;
  const progress = /** @type {HTMLProgressElement} */ (element("progress"));
  progress.max = Math.max(1, decided + waiting);
  progress.value = decided;
  element("count").textContent = `${decided} of ${decided + waiting} labelled`;
  element("figure").hidden = !current;
  for (const id of ["right", "discard"]) /** @type {HTMLButtonElement} */ (element(id)).disabled = !current;
  /** @type {HTMLButtonElement} */ (element("undo")).disabled = !decided;
  if (current) {
    const image = /** @type {HTMLImageElement} */ (element("image"));
    image.src = `image/${encodeURIComponent(current.file)}`;
    image.alt = `the image ${current.file}`;
    const sure = current.probability === null ? "" : `, ${(current.probability * 100).toFixed(1)} % sure`;
    element("predicted").textContent = `predicted: ${current.predicted}${sure}${current.why && "; "}${current.why}`;
  } else {
    say("All images are labelled. Finish ends the command; undo takes the last one back.");
  }
  list();
}

/** The classes that the search leaves. */
function found() {
  const word = search.value.trim().toLowerCase();
  const all = state ? state.classes : [];
  const first = all.filter((each) => each.label.toLowerCase().startsWith(word));
  return word ? [...first, ...all.filter((each) => !first.includes(each) && each.label.toLowerCase().includes(word))] : all;
}

function list() {
  const current = state && state.current;
  element("classes").replaceChildren(...found().map((each) => {
    const button = document.createElement("button");
    button.dataset.label = each.label;
    button.disabled = !current;
    if (current && each.label === current.predicted) button.className = "predicted";
    if (each.key) {
      const key = document.createElement("kbd");
      key.textContent = each.key;
      button.append(key, " ");
    }
    button.append(each.label);
    button.addEventListener("click", () => label(each.label));
    return button;
  }));
}

/** @param {string} path @param {object} body */
async function send(path, body) {
  if (busy || ended) return;
  busy = true;
  try {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const content = await answer.json();
    if (content.error) say(content.error);
    else if (path === "quit") finish();
    else {
      say(answer.status === 409 ? "Another tab was faster." : "");
      search.value = "";
      show(content);
    }
  } catch {
    say("`covey label` has ended. What was labelled is kept.");
  } finally {
    busy = false;
  }
}

function finish() {
  ended = true;
  for (const each of document.querySelectorAll("button, input")) each.setAttribute("disabled", "");
  say("Ended. What was labelled is kept; `covey label` goes on where you left off.");
}

/** @param {string} name */
const label = (name) => state && state.current && send("label", { file: state.current.file, class: name });
const discard = () => state && state.current && send("discard", { file: state.current.file });
const undo = () => send("undo", {});
const right = () => state && state.current && label(state.current.predicted);

element("right").addEventListener("click", right);
element("discard").addEventListener("click", discard);
element("undo").addEventListener("click", undo);
element("quit").addEventListener("click", () => send("quit", {}));
search.addEventListener("input", list);

document.addEventListener("keydown", (event) => {
  if (!state || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target === search) {
    if (event.key === "Enter" && found().length) {
      label(found()[0].label);
      search.blur();
    } else if (event.key === "Escape") {
      search.value = "";
      search.blur();
      list();
    }
    return;
  }
  const key = event.key.toLowerCase();
  const meant = state.classes.find((each) => each.key === key);
  if (meant) label(meant.label);
  else if (key === "u" || key === "backspace") undo();
  else if (key === "d" || key === "delete") discard();
  else if (key === "/") search.focus();
  else if (key === " ") right();
  else return;
  event.preventDefault();
});

fetch("state").then((answer) => answer.json()).then(show, () => say("`covey label` has ended."));
