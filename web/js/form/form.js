/* A form for a job of any kind, and the faults that the server finds in it, each at its field. */

import { h } from "../dom.js";
import { field, members } from "./fields.js";
import { resolve } from "./schema.js";

const ENVELOPE = ["name", "labels", "priority", "after", "limits"];

/** `value` is edited in place; `changed()` is called after each edit. Gives {node, faults(list), focus(pointer)}. */
export function form(root, value, changed) {
  const schema = resolve(root, root);
  const spec = schema.properties?.spec;
  value.spec ??= {};
  const set = (part) => (fresh) => { if (fresh === undefined) delete value[part]; else value[part] = fresh; changed(); };
  const name = field({ schema: schema.properties.name ?? { type: "string" }, root, name: "name", pointer: "/name", value: value.name, set: set("name") });
  const node = h("form", { class: "stack", onsubmit: (event) => event.preventDefault(), "aria-label": "Job" },
    h("div", { class: "card stack" }, h("div", { class: "fields" }, name), body(spec, root, value, set("spec"))),
    envelope(schema, root, value, changed));
  return {
    node,
    faults(found) { clear(node); for (const one of found) mark(node, one); },
    focus(pointer) { reveal(nearest(node, pointer)); },
  };
}

/** The spec's own fields stand open: they are what the job is about. */
function body(spec, root, value, set) {
  const schema = resolve(spec, root);
  if (schema.properties) return h("div", { class: "list", dataset: { pointer: "/spec" } }, members({ schema, root, value: value.spec, pointer: "/spec", set }));
  const made = field({ schema: spec, root, name: "spec", pointer: "/spec", value: value.spec, open: true, set });
  const inside = made.querySelector(":scope > .inside");
  inside.dataset.pointer = "/spec"; // no frame around the whole
  inside.style.padding = "0";
  return inside;
}

function envelope(schema, root, value, changed) {
  const names = ENVELOPE.filter((name) => name !== "name" && name in schema.properties);
  const inner = { properties: Object.fromEntries(names.map((name) => [name, schema.properties[name]])) };
  return h("details", { class: "part" }, h("summary", null, h("span", { class: "what" }, "Labels, priority, limits"), h("span", { class: "gist" }), h("span", { class: "flag", hidden: true })),
    h("div", { class: "inside" }, members({ schema: inner, root, value, pointer: "", set: changed })));
}

function clear(node) {
  for (const wrong of node.querySelectorAll(".wrong")) { wrong.hidden = true; wrong.textContent = ""; }
  for (const control of node.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
  for (const flag of node.querySelectorAll(".flag")) flag.hidden = true;
}

function mark(node, { pointer, detail }) {
  const at = nearest(node, pointer);
  if (!at) return;
  const wrong = at.querySelector(".wrong");
  if (wrong) {
    const told = at.dataset.pointer === pointer ? detail : `${pointer.slice(at.dataset.pointer.length)}: ${detail}`;
    wrong.hidden = false;
    wrong.textContent = wrong.textContent ? `${wrong.textContent} ${told}` : told;
  }
  at.querySelector("input, select, textarea")?.setAttribute("aria-invalid", "true");
  for (let part = at.closest("details.part"); part; part = part.parentElement.closest("details.part")) {
    const flag = part.querySelector(":scope > summary .flag");
    if (flag) { flag.hidden = false; flag.textContent = "look here"; }
  }
}

/** The field of a pointer, or of the nearest one around it. */
function nearest(node, pointer) {
  for (let path = pointer; path; path = path.slice(0, path.lastIndexOf("/"))) {
    const at = node.querySelector(`[data-pointer="${CSS.escape(path)}"]`);
    if (at) return at;
  }
  return null;
}

function reveal(at) {
  if (!at) return;
  for (let part = at.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
  const control = at.querySelector("input, select, textarea") ?? at;
  control.scrollIntoView({ block: "center" });
  control.focus({ preventScroll: true });
}
