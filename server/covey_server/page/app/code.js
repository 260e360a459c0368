// @ts-check
/** The call that the page has just made, as code to copy. */
import { json, token } from "./api.js";
import { button, fill, h } from "./dom.js";
import { t } from "./text.js";

/** @type {Promise<{grpc_port: number}> | null} */
let about = null;

/** @param {string} model @param {number} version @param {number} topK @returns {HTMLElement} */
export function asCode(model, version, topK) {
  const place = h("div", { class: "code-tabs" });
  const view = h("details", { class: "card code", on: { toggle: () => view.open && draw("Python") } }, h("summary", {}, t("code.title")), place);
  return view;

  async function draw(/** @type {string} */ chosen) {
    about ??= json("/v1/about").catch(() => ((about = null), { grpc_port: 8001 }));
    const samples = written(model, version, topK, (await about).grpc_port);
    const code = h("code", {}, samples[chosen]);
    fill(
      place,
      h("div", { class: "tabs", role: "group", "aria-label": t("code.title") },
        Object.keys(samples).map((name) => button(name, () => draw(name), { "aria-pressed": String(name === chosen) })),
        button(t("code.copy"), () => navigator.clipboard?.writeText(samples[chosen]), { class: "quiet", icon: "copy" })),
      h("pre", { tabIndex: 0 }, code),
      token() ? h("p", { class: "small muted" }, t("code.token")) : null,
    );
  }
}

/**
 * @param {string} model @param {number} version 0: not named @param {number} topK @param {number} grpcPort
 * @returns {Record<string, string>}
 */
function written(model, version, topK, grpcPort) {
  const grpc = `${location.hostname}:${grpcPort}`;
  const query = [topK ? `top_k=${topK}` : "", version ? `version=${version}` : ""].filter(Boolean).join("&");
  const url = `${location.origin}/v1/models/${encodeURIComponent(model)}/classify${query ? `?${query}` : ""}`;
  const secret = Boolean(token());
  const isEncrypted = location.protocol === "https:";
  const isNear = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  // The SDK sends no token unencrypted to another machine unless it is told to.
  const tls = isEncrypted ? ", tls=True" : secret && !isNear ? ", tls=False" : "";
  const python = [`model=${JSON.stringify(model)}`, version ? `version=${version}` : "", topK ? `top_k=${topK}` : ""].filter(Boolean).join(", ");
  const message = { model, ...(version ? { version } : {}), ...(topK ? { top_k: topK } : {}), encoded: { images: ["%s"] } };
  return {
    Python: `import covey  # pip install covey-serve

with covey.Client("${grpc}"${tls}${secret ? ", token=TOKEN" : ""}) as client:
    answer = client.classify("image.jpg", ${python})
    for each in answer.classes:
        print(each.label, each.probability)
    print(answer.timing)`,
    curl: `curl -sS -T image.jpg ${secret ? '-H "Authorization: Bearer $TOKEN" ' : ""}\\
  '${url}'`,
    // Through a pipe: an argument may have 128 KiB only, less than most photographs.
    grpcurl: `printf '${JSON.stringify(message)}' "$(base64 < image.jpg | tr -d '\\n')" \\
  | grpcurl ${isEncrypted ? "" : "-plaintext "}${secret ? '-H "authorization: Bearer $TOKEN" ' : ""}-d @ \\
  ${grpc} covey.v1.Classifier/Classify`,
    JavaScript: `// A page of another origin may call if the server has its --cors-origin.
const image = document.querySelector("input[type=file]").files[0];
// in Node: const image = await (await import("node:fs")).openAsBlob("image.jpg");
const answer = await fetch("${url}", {
  method: "POST",
  body: image,${secret ? "\n  headers: { Authorization: `Bearer ${TOKEN}` }," : ""}
});
const found = await answer.json();
if (!answer.ok) throw new Error(found.detail);
for (const each of found.results[0].classes) console.log(each.label, each.probability);`,
  };
}
