// Shows /openapi.json: each operation with its parameters, bodies and answers, a curl line, and a button that sends it.
"use strict";

const JSON_TYPE = "application/json", FORM = "multipart/form-data", FILE = "application/octet-stream";
const FILE_NAME = "image.jpg"; // in curl lines, until a file is chosen
const MAX_SHOWN = 20000; // characters of an answer

/** An element. Children are elements or texts; texts are never read as HTML. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const inShell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : quoted(text));
const token = () => document.getElementById("token").value.trim();

/** What a "$ref" refers to. */
function resolved(api, part) {
  let found = part;
  while (found.$ref) found = found.$ref.slice(2).split("/").reduce((place, name) => place[name], api);
  return found;
}

/** A schema as text that looks like the JSON it describes. */
function described(api, part, indent = "") {
  const schema = resolved(api, part ?? {});
  const inner = indent + "  ";
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(" | ");
  if (schema.type === "array") return `[${described(api, schema.items, indent)}, ...]`;
  if (schema.properties) {
    const required = new Set(schema.required ?? []);
    const lines = Object.entries(schema.properties).map(
      ([name, each]) => `${inner}"${name}"${required.has(name) ? "" : "?"}: ${described(api, each, inner)}`);
    return `{\n${lines.join(",\n")}\n${indent}}`;
  }
  if (schema.additionalProperties) return `{"NAME": ${described(api, schema.additionalProperties, indent)}, ...}`;
  const kind = [schema.type ?? "anything"].flat().join(" | ");
  if (schema.contentEncoding) return `${kind} in ${schema.contentEncoding}`;
  return schema.format ? `${kind} (${schema.format})` : kind;
}

/** One operation: what the visitor has filled in, and the request that follows from it. */
class Operation {
  constructor(api, path, method, shared, operation) {
    Object.assign(this, { api, path, method: method.toUpperCase(), operation });
    this.isOpen = operation.security?.length === 0;
    this.bodies = operation.requestBody?.content ?? {};
    this.inputs = new Map(); // by parameter
    for (const each of [...shared, ...(operation.parameters ?? [])]) {
      const isModel = each.in === "path" && each.name === "model";
      const list = isModel ? { list: "models" } : {};
      const input = element("input", { ...list, id: `${operation.operationId}-${each.name}`, "data-name": each.name });
      this.inputs.set(each, input);
    }
    this.type = element("select", { "aria-label": "kind of body" });
    for (const type of Object.keys(this.bodies)) this.type.append(element("option", {}, type));
    this.file = element("input", { type: "file", "aria-label": "file" });
    this.text = element("textarea", { spellcheck: "false", "aria-label": "body" });
    this.curl = element("pre", { class: "curl" });
    this.answer = element("div", { class: "answer", "aria-live": "polite" });
  }

  /** The path with what is filled in. It is relative to this page, which may lie behind a proxy's own path. */
  get target() {
    let path = this.path;
    const query = new URLSearchParams();
    for (const [each, input] of this.inputs) {
      if (each.in === "path") path = path.replace(`{${each.name}}`, encodeURIComponent(input.value || input.placeholder));
      else if (each.in === "query" && (input.value || each.required)) query.set(each.name, input.value || input.placeholder);
    }
    return new URL(path.slice(1) + (query.size ? `?${query}` : ""), document.baseURI);
  }

  get headers() {
    const headers = {};
    for (const [each, input] of this.inputs) if (each.in === "header" && input.value) headers[each.name] = input.value;
    // curl and fetch set that of a form, and need none for a file.
    if (this.hasBody && ![FORM, FILE].includes(this.type.value)) headers["Content-Type"] = this.type.value;
    return headers;
  }

  get hasBody() { return this.type.options.length > 0; }
  get isJson() { return this.type.value === JSON_TYPE; }

  get curlLine() {
    const parts = ["curl"];
    const name = inShell(this.file.files[0]?.name ?? FILE_NAME);
    const isUpload = this.method === "PUT" && !this.isJson && this.type.value !== FORM;
    const usual = isUpload ? "PUT" : this.hasBody ? "POST" : "GET"; // what curl does by itself
    if (this.method !== usual) parts.push("-X", this.method);
    if (token() && !this.isOpen) parts.push("-H", '"Authorization: Bearer $TOKEN"');
    for (const [key, value] of Object.entries(this.headers)) parts.push("-H", quoted(`${key}: ${value}`));
    if (this.isJson) parts.push("-d", quoted(this.text.value));
    else if (isUpload) parts.push("-T", name);
    else if (this.type.value === FORM) parts.push("-F", `image=@${name}`);
    else if (this.hasBody) parts.push("--data-binary", `@${name}`);
    parts.push(inShell(this.target.href));
    return parts.join(" ");
  }

  update() {
    this.text.hidden = !this.isJson;
    this.file.hidden = this.isJson;
    this.curl.textContent = this.curlLine;
  }

  async send() {
    const options = { method: this.method, headers: this.headers };
    if (token() && !this.isOpen) options.headers.Authorization = `Bearer ${token()}`;
    if (this.isJson) options.body = this.text.value;
    else if (this.hasBody) {
      const file = this.file.files[0];
      if (!file) return this.show(element("p", {}, "Choose a file first."));
      options.body = file;
      if (this.type.value === FORM) {
        options.body = new FormData();
        options.body.set("image", file);
      }
    }
    const began = performance.now();
    try {
      const answer = await fetch(this.target, options);
      const bytes = new Uint8Array(await answer.arrayBuffer());
      const took = (performance.now() - began).toFixed(1);
      const type = answer.headers.get("Content-Type") ?? "";
      const head = `${answer.status} ${answer.statusText}`;
      const about = ` ${type}, ${bytes.length.toLocaleString("en")} bytes, ${took} ms`;
      this.show(element("p", {}, element("strong", {}, head), element("span", { class: "soft" }, about)),
                element("pre", {}, shown(bytes, type)));
    } catch (error) {
      this.show(element("p", {}, `No answer came: ${error.message}`));
    }
  }

  show(...parts) { this.answer.replaceChildren(...parts); }

  get view() {
    const { operation, method, path } = this;
    const view = element("details", { id: operation.operationId },
      element("summary", {}, element("span", { class: "method" }, method), " ", element("code", {}, path), " ",
              element("span", { class: "soft" }, operation.summary)));
    if (operation.description) view.append(element("p", {}, operation.description));
    if (this.inputs.size) {
      const fields = element("div", { class: "fields" });
      for (const [each, input] of this.inputs) {
        const place = each.in === "path" ? "" : ` (${each.in})`;
        fields.append(element("label", { for: input.id }, element("code", {}, each.name), place), input,
                      element("span", { class: "soft" }, each.description ?? ""));
      }
      view.append(element("h3", {}, "Parameters"), fields);
    }
    if (this.hasBody) view.append(element("h3", {}, "Body"), this.type, element("p", {}, this.file, this.text));
    const form = element("form", { onsubmit: (event) => { event.preventDefault(); this.send(); } },
                         ...[...view.children].slice(1), this.curl, element("button", {}, "Send"), this.answer);
    view.append(form, ...this.answers());
    view.addEventListener("input", () => this.update());
    this.type.addEventListener("change", () => this.update());
    return view;
  }

  /** What may come back, and what the bodies hold. */
  answers() {
    const table = element("table"), forms = element("pre");
    const texts = [];
    for (const [type, { schema }] of Object.entries(this.bodies)) {
      if (type === JSON_TYPE) texts.push(`Body (${type}):\n${described(this.api, schema)}`);
    }
    for (const [status, part] of Object.entries(this.operation.responses)) {
      const response = resolved(this.api, part);
      table.append(element("tr", {}, element("td", {}, element("code", {}, status)), element("td", {}, response.description),
                           element("td", { class: "soft" }, Object.keys(response.content ?? {}).join(", "))));
      const success = response.content?.[JSON_TYPE];
      if (success && status === "200") texts.push(`Answer (${JSON_TYPE}):\n${described(this.api, success.schema)}`);
    }
    forms.textContent = texts.join("\n\n");
    return [element("h3", {}, "Answers"), table, ...(texts.length ? [element("h3", {}, "In JSON"), forms] : [])];
  }
}

/** An answer as text: JSON indented, other text as it is, bytes counted. */
function shown(bytes, type) {
  if (!/json|^text\//.test(type)) return bytes.length ? `${bytes.length.toLocaleString("en")} bytes that are no text` : "";
  let text = new TextDecoder().decode(bytes);
  try {
    if (type.includes("json")) text = JSON.stringify(JSON.parse(text), null, 2);
  } catch { /* it is shown as it came */ }
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}\n... (cut)` : text;
}

/** The names of the models, to choose from; the default one, or the first, stands in the curl lines. */
async function offerModels(operations) {
  let ready = [];
  try {
    const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
    const found = await (await fetch("v1/models", { headers })).json();
    ready = found.models.filter((each) => each.state === "STATE_READY");
  } catch { /* without a valid token there are none */ }
  const names = new Set(ready.map((each) => each.name));
  document.getElementById("models").replaceChildren(...[...names].map((name) => element("option", { value: name })));
  const first = ready.find((each) => each.is_default) ?? ready[0] ?? { name: "NAME", version: 1 };
  for (const operation of operations) {
    for (const [each, input] of operation.inputs) {
      if (each.in !== "path" && !each.required) continue;
      input.placeholder = each.name === "model" ? first.name : each.schema.enum?.[0] ?? first.version;
    }
    operation.update();
  }
}

async function main() {
  const api = await (await fetch("openapi.json")).json();
  const operations = [];
  document.getElementById("version").textContent = `Covey ${api.info.version}`;
  const groups = new Map(api.tags.map((tag) => [tag.name, element("section", {}, element("h2", {}, tag.name),
                                                                  element("p", { class: "soft" }, tag.description))]));
  for (const [path, { parameters = [], ...methods }] of Object.entries(api.paths)) {
    for (const [method, each] of Object.entries(methods)) {
      const operation = new Operation(api, path, method, parameters, each);
      operation.text.value = JSON.stringify(operation.bodies[JSON_TYPE]?.example ?? {});
      operations.push(operation);
      groups.get(each.tags[0]).append(operation.view);
    }
  }
  await offerModels(operations);
  document.getElementById("paths").append(...groups.values());
  document.getElementById("token").addEventListener("change", () => offerModels(operations));
  const chosen = location.hash && document.getElementById(location.hash.slice(1));
  if (chosen) {
    chosen.open = true;
    chosen.scrollIntoView();
  }
  document.body.dataset.ready = "yes";
}

main().catch((error) => document.getElementById("paths").append(`The page cannot be shown: ${error.message}`));
