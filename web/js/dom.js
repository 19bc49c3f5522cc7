/* Elements without a framework. Text is always text: nothing here parses HTML. */

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "line", "rect", "circle", "g", "title"]);

/** An element with properties, listeners (`onclick`) and children (nodes, strings, arrays; null and false are skipped). */
export function h(tag, props, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) set(node, name, value);
  append(node, children);
  return node;
}

function set(node, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
  else if (name === "style") Object.assign(node.style, value); // by CSSOM, which the content policy allows
  else if (name === "dataset") Object.assign(node.dataset, value);
  else if (name === "value" || name === "checked" || name === "indeterminate") node[name] = value;
  else node.setAttribute(name === "className" ? "class" : name, value === true ? "" : String(value));
}

function append(node, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(node, child);
    else if (child !== null && child !== undefined && child !== false) node.append(child);
  }
}

/** Replaces all children, and gives the node back. */
export function fill(node, ...children) {
  const fresh = document.createDocumentFragment();
  append(fresh, children);
  node.replaceChildren(fresh);
  return node;
}

/** Text with `code` between backticks, as documentation writes it. */
export function prose(text) {
  return String(text ?? "").split("`").map((part, place) => (place % 2 ? h("code", null, part) : part));
}

/** Tells screen readers, politely. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** A short message at the bottom of the page. */
export function toast(text) {
  document.querySelector(".toast")?.remove();
  const note = h("div", { class: "toast", role: "status" }, text);
  document.body.append(note);
  setTimeout(() => note.remove(), 3500);
}

let ids = 0;
/** A fresh id for `for` and `aria-…` relations. */
export const fresh = (stem) => `${stem}-${++ids}`;

/** Calls `act` at most once in `ms`, the last call winning. */
export function later(act, ms) {
  let timer = 0;
  return (...given) => { clearTimeout(timer); timer = setTimeout(() => act(...given), ms); };
}
