// The page: asks for a plan whenever the case changes, and shows the latest answer.
const at = (id) => document.getElementById(id);
const form = at("case");
const FIELDS = ["model", "config", "precision", "engine", "concurrency", "input", "output_tokens", "batch", "sequence",
  "routing", "objective", "ttft", "tpot", "strategy"];
const OF_FIELD = { "--cluster": "cluster", "MODEL": "model", "--output-tokens": "output_tokens" };
let asked = 0;
let waiting = null;
let running = null;

const mode = () => form.elements.mode.value;

function make(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== null && text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function options() {
  const kind = at("kind").value;
  const found = { cluster: `${at("cluster").value}:${at("gpus").value}` };
  for (const name of FIELDS) {
    const owner = at(name).closest("[data-kinds]");
    if (owner && !owner.dataset.kinds.split(" ").includes(kind)) continue;
    if (at(name).value.trim()) found[name] = at(name).value;
  }
  if (kind !== "serving") found.kind = kind;
  return found;
}

function current() {
  return mode() === "spec" ? { spec: at("spec").value } : { options: options() };
}

// --- the link: the case, in the part of the address that no server sees ---
const packed = (value) => btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(value))))
  .replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
const unpacked = (text) => JSON.parse(new TextDecoder().decode(
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0))));

function fill(value) {
  if (typeof value.spec === "string") {
    form.elements.mode.value = "spec";
    at("spec").value = value.spec;
  } else if (value.options) {
    form.elements.mode.value = "options";
    const [cluster, gpus] = String(value.options.cluster || "").split(":");
    if (cluster) at("cluster").value = cluster;
    if (gpus) at("gpus").value = gpus;
    at("kind").value = value.options.kind || "serving";
    for (const name of FIELDS) at(name).value = value.options[name] ?? (at(name).tagName === "SELECT" ? at(name).options[0].value : "");
  }
  arrange();
}

function arrange() {
  const spec = mode() === "spec";
  at("options").hidden = spec;
  at("spec").readOnly = !spec;
  for (const part of document.querySelectorAll("[data-kinds]")) {
    part.hidden = !part.dataset.kinds.split(" ").includes(at("kind").value);
  }
  at("gpus-slider").value = Math.round(Math.log2(Math.max(1, Number(at("gpus").value) || 1)));
}

// --- asking ---
function changed(delay = 250) {
  clearTimeout(waiting);
  waiting = setTimeout(ask, delay);
}

async function ask() {
  const number = ++asked;
  running?.abort();
  running = new AbortController();
  const what = current();
  history.replaceState(null, "", `#${packed(what)}`);
  at("answer").setAttribute("aria-busy", "true");
  at("status").className = "";
  at("status").textContent = "Planning …";
  let found;
  try {
    const reply = await fetch("/plan", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(what), signal: running.signal,
    });
    found = await reply.json();
  } catch (error) {
    if (error.name === "AbortError") return;
    found = { error: "The server does not answer; is moewright ui still running?" };
  }
  if (number !== asked) return; // a later one is on its way
  show(found);
}

function show(found) {
  at("answer").setAttribute("aria-busy", "false");
  for (const marked of form.querySelectorAll("[aria-invalid]")) marked.removeAttribute("aria-invalid");
  if (mode() === "options" && found.spec) at("spec").value = found.spec;
  if (found.error) {
    at("status").className = "error";
    at("status").textContent = found.field ? `${found.field}: ${found.error}` : found.error;
    const field = mode() === "spec" ? "spec" : OF_FIELD[found.field] ?? String(found.field ?? "").replace(/^--/, "").replaceAll("-", "_");
    at(field)?.setAttribute("aria-invalid", "true");
    at("result").replaceChildren();
    return;
  }
  at("status").textContent = found.title;
  const parts = [make("p", found.answer, { class: "answer" }), numbers(found.numbers), command(found), origins(found)];
  parts.push(...found.figures.map(figure));
  if (found.why_not.length) parts.push(...found.why_not.map((s) => section(s, "Why not others")));
  const more = make("details");
  more.append(make("summary", "All tables"), ...found.tables.map((s) => section(s)));
  parts.push(more);
  at("result").replaceChildren(...parts);
  found.figures.forEach((f, i) => {
    const place = at("result").querySelectorAll(".chart")[i];
    drawFigure(place, f).catch((error) => { place.textContent = String(error); });
  });
}

function numbers(list) {
  const all = make("dl", null, { class: "numbers" });
  for (const n of list) {
    const box = make("div");
    const value = make("dd");
    value.append(make("strong", n.value), make("span", n.note));
    box.append(make("dt", n.name), value);
    all.append(box);
  }
  return all;
}

function command(found) {
  const box = make("section", null, { class: "command", "aria-label": "Command" });
  if (found.command) {
    const line = make("div", null, { class: "copy" });
    const shown = make("pre", null, { tabindex: "0", "aria-label": "Command" });
    shown.append(make("code", found.command, { id: "command" }));
    const button = make("button", "Copy", { type: "button", id: "copy" });
    button.addEventListener("click", () => copied(found.command, button));
    line.append(shown, button);
    box.append(line);
  }
  box.append(make("p", found.note.replaceAll("`", "")));
  return box;
}

function origins(found) {
  const all = make("dl", null, { class: "origins" });
  for (const [name, text] of [["Measured", found.measured], ["Derived", found.derived]]) {
    const box = make("div");
    box.append(make("dt", name), make("dd", text.replaceAll("`", "")));
    all.append(box);
  }
  return all;
}

function figure(f) {
  const all = make("figure", null, { id: f.name });
  all.append(make("h2", f.title), make("div", null, { class: "chart", role: "group", "aria-label": f.title }));
  if (Object.keys(f.panel).length) {
    const panel = make("div", null, { class: "panel", role: "status", "aria-live": "polite" });
    panel.hidden = true;
    all.append(panel);
  }
  all.append(make("figcaption", f.caption));
  return all;
}

function section(s, title) {
  const all = make("section", null, { class: "tables" });
  all.append(make("h2", title ?? s.title));
  for (const block of s.blocks) {
    if (typeof block === "string") {
      all.append(make(block.includes("\n") ? "pre" : "p", block));
      continue;
    }
    const scroll = make("div", null, { class: "scroll", tabindex: "0", role: "group", "aria-label": title ?? s.title });
    const table = make("table");
    if (block.headers.some(Boolean)) {
      const row = table.createTHead().insertRow();
      block.headers.forEach((h, i) => row.append(h ? make("th", h, { scope: "col", class: block.numbers.includes(i) ? "number" : "" }) : make("td")));
    }
    const body = table.createTBody();
    for (const cells of block.rows) {
      const row = body.insertRow();
      cells.forEach((cell, i) => row.append(make("td", cell, { class: block.numbers.includes(i) ? "number" : "" })));
    }
    scroll.append(table);
    all.append(scroll);
  }
  return all;
}

// --- keeping ---
async function copied(text, button) {
  const before = button.textContent;
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    done = false;
  }
  button.textContent = done ? "Copied" : "Select and copy by hand";
  setTimeout(() => { button.textContent = before; }, 2000);
}

at("save").addEventListener("click", () => {
  const link = make("a", null, { href: URL.createObjectURL(new Blob([at("spec").value], { type: "text/yaml" })), download: "moewright.yaml" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
at("share").addEventListener("click", (event) => {
  history.replaceState(null, "", `#${packed(current())}`);
  copied(location.href, event.currentTarget);
});
at("example").addEventListener("click", () => {
  fill({ spec: at("example").dataset.spec });
  changed(0);
});
at("gpus-slider").addEventListener("input", () => { at("gpus").value = 2 ** Number(at("gpus-slider").value); });
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", () => { arrange(); changed(); });

// --- beginning ---
const offered = await (await fetch("/choices")).json();
at("models").append(...offered.models.map((name) => make("option", null, { value: name })));
at("cluster").append(...Object.entries(offered.clusters).map(([name, size]) => make("option", `${name} (${size} a node)`, { value: name })));
at("engine").append(...offered.engines.map((name) => make("option", name)));
at("example").dataset.spec = offered.example;
at("cluster").value = "h100-hgx";
at("engine").value = "vllm";
if (location.hash.length > 1) {
  try {
    fill(unpacked(location.hash.slice(1)));
  } catch {
    at("status").textContent = "The link does not hold a case; the usual one is shown.";
  }
}
arrange();
await ask();
