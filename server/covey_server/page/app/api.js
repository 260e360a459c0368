// @ts-check
/** Asks the server, with the visitor's token. Whatever fails becomes a Problem with the server's own sentence. */
import { t } from "./text.js";

/**
 * @typedef {{label: string, index: number, probability: number}} Class
 * @typedef {{classes?: Class[], error?: {reason: string, message: string}, known?: boolean}} Result
 * @typedef {{total_us?: number, decode_us?: number, queue_us?: number, compute_us?: number, batch_size?: number, device?: string}} Timing
 * @typedef {{results: Result[], model: string, version: number, timing: Timing, answer?: string}} Classified
 * @typedef {{name: string, version: number, state: string, reason: string, is_default: boolean, is_default_version: boolean, is_shadow: boolean, canary: string, canary_reason: string, info?: any, serving?: any}} Model
 */

const TOKEN = "covey-token";
const LOOK_AGAIN_MS = 1500;

/** What the rest of the page listens to: "state" when `state` changes, "token" when a token is needed. */
export const events = new EventTarget();
/** @typedef {"starting" | "ready" | "gone" | "denied"} State @type {State} */
export let state = "starting";
let denial = "";

export class Problem extends Error {
  /** @param {number} status 0: the server was not reached @param {string} detail @param {number} [retryAfterMs] */
  constructor(status, detail, retryAfterMs = 0) {
    super(detail);
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

/** @returns {string} */
export const token = () => sessionStorage.getItem(TOKEN) ?? "";

/** Kept for this tab only. @param {string} value */
export function setToken(value) {
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
}

/** Why the server wants a token. @returns {string} */
export const whyDenied = () => denial;

/** @param {State} found */
function become(found) {
  if (found === state) return;
  const wasGone = state === "gone";
  state = found;
  events.dispatchEvent(new CustomEvent("state", { detail: { wasGone } }));
  if (found === "gone") setTimeout(lookAgain, LOOK_AGAIN_MS);
}

/** Calls `act` each time the server is back. @param {() => void} act @param {AbortSignal} [signal] */
export function whenBack(act, signal) {
  events.addEventListener("state", (event) => {
    if (state === "ready" && /** @type {CustomEvent} */ (event).detail.wasGone) act();
  }, { signal });
}

async function lookAgain() {
  try {
    const answer = await fetch("/readyz", { cache: "no-store" });
    if (answer.ok) return become("ready");
  } catch {
    // it is still gone
  }
  setTimeout(lookAgain, LOOK_AGAIN_MS);
}

/**
 * @param {string} path @param {RequestInit} [options]
 * @returns {Promise<Response>} of a good status; raises Problem
 */
export async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (token()) headers.set("Authorization", `Bearer ${token()}`);
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, cache: options.cache ?? "no-store" });
  } catch (error) {
    if (/** @type {Error} */ (error).name === "AbortError") throw error;
    // A request that was too large is cut off too: look whether the server is there.
    if (!(await isThere())) become("gone");
    throw new Problem(0, t(state === "gone" ? "error.gone" : "error.cut"));
  }
  if (answer.ok) {
    become("ready");
    return answer;
  }
  const retry = Number(answer.headers.get("Retry-After-Ms") ?? 0);
  let detail = `${answer.status} ${answer.statusText}`;
  try {
    detail = (await answer.json()).detail ?? detail;
  } catch {
    // it is no problem document: of a proxy, say
  }
  if (answer.status === 401) {
    denial = detail;
    become("denied");
    events.dispatchEvent(new Event("token"));
  }
  throw new Problem(answer.status, detail, retry);
}

async function isThere() {
  try {
    await fetch("/healthz", { cache: "no-store" });
    return true;
  } catch {
    return false;
  }
}

/** @param {string} path @param {RequestInit} [options] @returns {Promise<any>} */
export const json = async (path, options) => (await ask(path, options)).json();

/** @returns {Promise<Model[]>} */
export const models = async () => (await json("/v1/models")).models;

/**
 * @param {string} model @param {number} version @param {Blob[]} images @param {number} topK 0: as many as the server gives
 * @returns {Promise<Classified>}
 */
export async function classify(model, version, images, topK) {
  const path = `/v1/models/${encodeURIComponent(model)}/classify?${query({ version, top_k: topK })}`;
  if (images.length === 1) {
    const headers = { "Content-Type": images[0].type.startsWith("image/") ? images[0].type : "application/octet-stream" };
    return json(path, { method: "POST", body: images[0], headers });
  }
  const form = new FormData();
  images.forEach((image, place) => form.append(`image${place}`, image, `image${place}`));
  return json(path, { method: "POST", body: form });
}

/**
 * @param {string} model @param {number} version @param {Blob} image @param {Record<string, string | number>} wanted
 * @param {AbortSignal} [signal] @returns {Promise<any>} as docs/http.md describes it
 */
export function explain(model, version, image, wanted, signal) {
  const path = `/v1/models/${encodeURIComponent(model)}/explain?${query({ version, ...wanted })}`;
  return json(path, { method: "POST", body: image, headers: { "Content-Type": "application/octet-stream" }, signal });
}

/** @param {string} model @param {number} version @returns {Promise<any>} */
export const layers = (model, version) => json(`/v1/models/${encodeURIComponent(model)}/layers?${query({ version })}`);

/** Which files lie beside a model. @param {Model} model @returns {Promise<string[]>} */
export const modelFiles = async ({ name, version }) =>
  version ? (await json(`/v1/models/${encodeURIComponent(name)}/files?${query({ version })}`)).files : [];

/** @param {Model} model @param {string} file @returns {Promise<Response>} */
export const modelFile = (model, file) => ask(modelFilePath(model, file));

/** @param {Model} model @param {string} file @returns {string} */
export const modelFilePath = ({ name, version }, file) =>
  `/v1/models/${encodeURIComponent(name)}/files/${file}?${query({ version })}`;

/** @param {Record<string, string | number>} values @returns {string} without those that are 0 or empty */
const query = (values) =>
  new URLSearchParams(Object.entries(values).flatMap(([name, each]) => (each ? [[name, String(each)]] : []))).toString();

/**
 * Server-sent events by fetch, which unlike EventSource can bring a token. Asks again until `signal` ends it.
 * @param {string} path @param {(data: any) => void} tell @param {AbortSignal} signal
 */
export async function watch(path, tell, signal) {
  while (!signal.aborted) {
    let pauseMs = 1000;
    try {
      const answer = await ask(path, { signal });
      const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        rest += value;
        const parts = rest.split("\n\n");
        rest = parts.pop() ?? "";
        for (const each of parts) if (each.startsWith("data: ")) tell(JSON.parse(each.slice(6)));
      }
      pauseMs = 0;
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem) pauseMs = error.retryAfterMs || pauseMs;
      else if (!(await isThere())) become("gone");
    }
    if (state === "gone" || state === "denied") await untilReady(signal);
    else if (pauseMs) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

/** @param {AbortSignal} signal @returns {Promise<void>} */
function untilReady(signal) {
  return new Promise((resolve) => {
    const look = () => {
      if (state !== "ready" && !signal.aborted) return;
      events.removeEventListener("state", look);
      signal.removeEventListener("abort", look);
      resolve();
    };
    events.addEventListener("state", look);
    signal.addEventListener("abort", look);
    look();
  });
}
