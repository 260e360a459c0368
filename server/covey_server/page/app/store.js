// @ts-check
/** What the views share: the server's models, which of them is meant, and the image that was last looked at. */
import { models as fetchModels } from "./api.js";

/** "models" when they changed, "choice" when another one is meant. */
export const changes = new EventTarget();

/** @type {{models: import("./api.js").Model[], name: string, version: number, topK: number, image: Blob | null, imageName: string}} */
export const store = { models: [], name: "", version: 0, topK: 5, image: null, imageName: "" };

/** @returns {import("./api.js").Model[]} */
export const served = () => store.models.filter((each) => each.state === "STATE_READY");

/** The model that is meant; undefined where none is served. @returns {import("./api.js").Model | undefined} */
export function chosen() {
  const own = served().filter((each) => each.name === store.name);
  return own.find((each) => each.version === store.version) ?? own[0];
}

/** Asks for the models again. @returns {Promise<void>} raises Problem */
export async function refreshModels() {
  const before = JSON.stringify(store.models);
  store.models = await fetchModels();
  store.models.sort((a, b) => a.name.localeCompare(b.name) || b.version - a.version);
  if (!served().some((each) => each.name === store.name)) {
    const preferred = served().find((each) => each.is_default) ?? served()[0];
    store.name = preferred?.name ?? "";
    store.version = 0;
  }
  if (JSON.stringify(store.models) !== before) changes.dispatchEvent(new Event("models"));
}

/** @param {string} name @param {number} version 0: the highest */
export function choose(name, version) {
  store.name = name;
  store.version = version;
  changes.dispatchEvent(new Event("choice"));
}

/** Whether the model's classes are the ten digits. @param {import("./api.js").Model} model @returns {boolean} */
export const isOfDigits = (model) => (model.info?.labels ?? []).join() === "0,1,2,3,4,5,6,7,8,9";

/** Whether any number of labels may be right. @param {import("./api.js").Model} model @returns {boolean} */
export const isIndependent = (model) => model.info?.answer === "ANSWER_INDEPENDENT";
