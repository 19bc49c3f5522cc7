/* Fields of a form, one maker a shape. A maker gets {schema, root, value, pointer, name, set} and gives an element.
   `set(undefined)` takes the value away, so that the default holds. */

import { fresh, h, prose } from "../dom.js";
import { words } from "../format.js";
import { alternatives, gist, initial, isNull, kindOf, limits, resolve, shapeOf, withoutNull } from "./schema.js";

/** The element of any field. */
export function field(given) {
  const schema = resolve(given.schema, given.root);
  const shape = shapeOf(schema, given.root);
  return MAKERS[shape]({ ...given, schema, shape });
}

const MAKERS = { object, choice, nullable, either, enum: pick, constant: () => null, boolean: tick, number: typed, text: typed, scalars: typed, flags, list, map: raw, any: raw };

/** Label, control, documentation and a place for what is wrong, tied together. */
function framed({ name, schema, pointer }, control, { wide = false, more = null, group = false } = {}) {
  const id = fresh("field"), wrong = h("div", { class: "wrong", id: `${id}-wrong`, hidden: true });
  control.id = id;
  control.setAttribute("aria-describedby", `${id}-wrong${schema.description ? ` ${id}-doc` : ""}`);
  return h("div", { class: wide ? "field wide" : "field", dataset: { pointer } },
    h(group ? "div" : "label", group ? { class: "legendlike" } : { for: id }, words(name), h("span", { class: "range" }, limits(schema)), more), control, wrong,
    schema.description ? h("div", { class: "doc", id: `${id}-doc` }, prose(schema.description)) : null);
}

function typed(given) {
  const { schema, value, set, shape } = given;
  const shown = value === undefined ? "" : shape === "text" ? value : shape === "scalars" ? JSON.stringify(value) : String(value);
  const by = schema.default === undefined || schema.default === null ? "" : shape === "scalars" ? JSON.stringify(schema.default) : String(schema.default);
  const input = h("input", { type: "text", value: shown, placeholder: by, inputmode: shape === "number" ? "decimal" : null, spellcheck: "false", autocomplete: "off",
    oninput: () => set(read(input.value, shape)) });
  return framed(given, input);
}

/** What was typed as a value; what cannot be read stays text, and the server says what is wrong with it. */
export function read(text, shape) {
  const trimmed = text.trim();
  if (trimmed === "") return undefined;
  if (shape === "text") return text;
  if (shape === "number") { const value = Number(trimmed); return Number.isNaN(value) ? trimmed : value; }
  try { const value = JSON.parse(trimmed); return Array.isArray(value) ? value : [value]; } catch { /* not JSON: a list with commas */ }
  return trimmed.split(",").map((part) => { const one = part.trim(), value = Number(one); return one === "" || Number.isNaN(value) ? one : value; });
}

function pick(given) {
  const { schema, value, set } = given;
  const chosen = value ?? schema.default;
  return framed(given, h("select", { onchange: (event) => set(schema.enum[event.target.selectedIndex]) }, schema.enum.map((one) => h("option", { selected: one === chosen }, String(one)))));
}

function tick(given) {
  const { schema, value, set } = given;
  return framed(given, h("input", { type: "checkbox", checked: value ?? schema.default ?? false, onchange: (event) => set(event.target.checked) }));
}

/** Several words of a few: each is pressed or not, in the order of the schema. */
function flags(given) {
  const { schema, root, value, set } = given;
  const offered = resolve(schema.items, root).enum;
  let chosen = value ?? schema.default ?? [];
  const buttons = offered.map((one) => h("button", { type: "button", class: "chip", "aria-pressed": String(chosen.includes(one)), onclick: (event) => {
    chosen = offered.filter((word) => (word === one ? !chosen.includes(one) : chosen.includes(word)));
    event.currentTarget.setAttribute("aria-pressed", String(chosen.includes(one)));
    set(chosen);
  } }, words(one)));
  return framed(given, h("div", { class: "chips", role: "group", "aria-label": words(given.name) }, buttons), { group: true });
}

function raw(given) {
  const { value, set } = given;
  const area = h("textarea", { rows: 3, spellcheck: "false", value: value === undefined ? "" : JSON.stringify(value, null, 1), placeholder: "{ }", oninput: () => {
    if (!area.value.trim()) { set(undefined); area.removeAttribute("aria-invalid"); return; }
    try { set(JSON.parse(area.value)); area.removeAttribute("aria-invalid"); } catch { area.setAttribute("aria-invalid", "true"); }
  } });
  return framed(given, area, { wide: true, more: h("span", { class: "range" }, "JSON") });
}

/** A folded part with a gist in its head. */
function part(given, inside, open) {
  const { name, schema, value, pointer } = given;
  const summary = h("span", { class: "gist" }, gist(value ?? schema.default));
  return h("details", { class: "part wide", open, dataset: { pointer } },
    h("summary", null, h("span", { class: "what" }, words(name)), summary, h("span", { class: "flag", hidden: true })),
    h("div", { class: "inside" }, schema.description ? h("p", { class: "note" }, prose(schema.description)) : null, h("div", { class: "wrong", hidden: true }), inside));
}

/** The fields of an object, without the frame around them. */
export function members({ schema, root, value, pointer, set, skip = [] }) {
  const required = new Set(schema.required ?? []);
  const current = value ?? {};
  const made = Object.entries(schema.properties ?? {}).filter(([name]) => name !== "kind" && !skip.includes(name)).map(([name, inner]) => field({
    schema: inner, root, name, pointer: `${pointer}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`, value: current[name], required: required.has(name),
    set: (fresh_) => {
      if (fresh_ === undefined) delete current[name]; else current[name] = fresh_;
      set(current);
    },
  }));
  const laid = []; // in the order of the schema, neighbouring plain fields beside each other
  for (const one of made.filter(Boolean)) {
    if (one.matches("details")) laid.push(one);
    else if (laid.at(-1)?.matches(".fields")) laid.at(-1).append(one);
    else laid.push(h("div", { class: "fields" }, one));
  }
  return laid;
}

function object(given) {
  return part(given, members(given), given.required || given.open);
}

function choice(given) {
  const { schema, root, value, set, name } = given;
  const options = alternatives(schema, root);
  const by = schema.default?.kind ?? kindOf(options[0]);
  let current = value;
  const inside = h("div", { class: "list" });
  const draw = () => {
    const kind = current?.kind ?? by, chosen = options.find((one) => kindOf(one) === kind) ?? options[0];
    const select = h("select", { onchange: (event) => { current = { kind: event.target.value }; set(current); draw(); refresh(); } },
      options.map((one) => h("option", { value: kindOf(one), selected: kindOf(one) === kind }, kindOf(one))));
    const doc = { ...chosen, description: chosen.description };
    inside.replaceChildren(framed({ ...given, name: "kind", schema: doc, pointer: `${given.pointer}/kind` }, select), ...members({ ...given, schema: chosen, value: current, set: (fresh_) => { current = { kind, ...fresh_ }; set(current); refresh(); } }).filter(Boolean));
  };
  draw();
  const node = part({ ...given, schema: { ...schema, description: name === "kind" ? schema.description : undefined }, value: current ?? schema.default ?? { kind: by } }, inside, given.required || given.open);
  const gistOf = node.querySelector(".gist");
  const refresh = () => { gistOf.textContent = gist(current ?? schema.default); };
  return node;
}

function nullable(given) {
  const { schema, root, value, set } = given;
  const inner = withoutNull(schema, root);
  const shape = shapeOf(inner, root);
  if (["number", "text", "scalars", "flags", "enum", "boolean"].includes(shape)) return orNothing(given, inner, shape);
  let current = value === undefined ? schema.default : value;
  const inside = h("div", { class: "list" });
  const box = h("input", { type: "checkbox", checked: current !== null && current !== undefined, onchange: () => { current = box.checked ? initial(inner, root) : null; set(current); draw(); } });
  function draw() {
    const made = box.checked ? field({ ...given, schema: inner, value: current ?? undefined, open: true, set }) : null;
    const inner_ = made?.matches("details.part") ? [...made.querySelector(".inside").children] : made ? [made] : [];
    inside.replaceChildren(h("label", { class: "check" }, box, `with ${words(given.name)}`), ...inner_);
  }
  draw();
  return part({ ...given, value: current }, inside, false);
}

/** A scalar that may be null: left empty it is what the default says; a box says null where the default is a value. */
function orNothing(given, inner, shape) {
  const { schema, value, set } = given;
  const byDefault = schema.default;
  const made = MAKERS[shape]({ ...given, schema: { ...inner, description: schema.description ?? inner.description, default: byDefault ?? undefined }, shape, value: value ?? undefined });
  if (byDefault === null || byDefault === undefined) return made;
  const control = made.querySelector("input, select");
  if (!control) return made;
  const box = h("input", { type: "checkbox", checked: value === null, onchange: () => { control.disabled = box.checked; set(box.checked ? null : control.value === "" ? undefined : read(control.value, shape)); } });
  control.disabled = value === null;
  made.querySelector("label").after(h("label", { class: "check" }, box, "none"));
  return made;
}

/** One of several shapes without kinds: each is offered by its name. */
function either(given) {
  const { schema, root, value, set } = given;
  const options = alternatives(schema, root);
  if (options.every((one) => ["number", "text", "constant", "enum", "scalars"].includes(shapeOf(one, root)) || isNull(one))) return loose(given, options);
  let current = value === undefined ? schema.default : value;
  let place = Math.max(0, options.findIndex((one) => fits(current, one, root)));
  const inside = h("div", { class: "list" });
  const draw = () => {
    const select = h("select", { "aria-label": `${words(given.name)}: form`, onchange: (event) => { place = event.target.selectedIndex; current = isNull(options[place]) ? null : initial(options[place], root); set(current); draw(); } },
      options.map((one, at) => h("option", { selected: at === place }, title(one, root))));
    const made = isNull(options[place]) ? null : field({ ...given, schema: options[place], value: current ?? undefined, open: true, set: (fresh_) => { current = fresh_; set(fresh_); } });
    inside.replaceChildren(select, ...(made?.matches("details.part") ? [...made.querySelector(".inside").children] : made ? [made] : []));
  };
  draw();
  return part({ ...given, value: current }, inside, given.required);
}

/** Numbers or words in one text field: `4000` or `fresh`. */
function loose(given, options) {
  const { schema, value, set } = given;
  const said = options.flatMap((one) => (isNull(one) ? [] : "const" in one ? [String(one.const)] : one.enum ? one.enum.map(String) : [limits(one) || one.type])).join(", or ");
  const shown = value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value);
  const input = h("input", { type: "text", value: shown, placeholder: schema.default === undefined || schema.default === null ? "" : String(schema.default), spellcheck: "false", oninput: () => {
    const text = input.value.trim();
    if (!text) { set(undefined); return; }
    try { set(JSON.parse(text)); } catch { set(text); }
  } });
  return framed({ ...given, schema: { description: schema.description } }, input, { more: h("span", { class: "range" }, said) });
}

const title = (schema, root) => (isNull(schema) ? "none" : kindOf(schema) ?? (schema.title ? words(schema.title).toLowerCase() : { number: "a number", text: "text", scalars: "a list", list: "a list", map: "JSON", object: "details" }[shapeOf(schema, root)] ?? "value"));

function fits(value, schema, root) {
  if (value === null || value === undefined) return isNull(schema);
  const shape = shapeOf(schema, root);
  if (Array.isArray(value)) return shape === "scalars" || shape === "list";
  if (typeof value === "object") return ["object", "choice", "map"].includes(shape) && Object.keys(value).every((name) => name in (schema.properties ?? { [name]: 1 }));
  return { number: "number", string: "text", boolean: "boolean" }[typeof value] === shape || schema.const === value;
}

function list(given) {
  const { schema, root, set, name } = given;
  let current = given.value;
  const items = resolve(schema.items ?? {}, root), inside = h("div", { class: "list" });
  const node = () => inside.closest("details");
  const store = (fresh_) => { current = fresh_; set(fresh_); const head = node()?.querySelector(":scope > summary .gist"); if (head) head.textContent = gist(current); };
  const draw = () => {
    const entries = current ?? schema.default ?? [];
    inside.replaceChildren(...entries.map((one, place) => h("div", { class: "entry" },
      field({ schema: items, root, name: one?.kind ?? `${words(name)} ${place + 1}`, pointer: `${given.pointer}/${place}`, value: one, open: entries.length === 1 && !("kind" in (one ?? {})), set: (fresh_) => { const copy = structuredClone(entries); copy[place] = fresh_; store(copy); } }),
      h("button", { type: "button", class: "small quiet", "aria-label": `Remove ${one?.kind ?? place + 1}`, onclick: () => { store(entries.filter((_, at) => at !== place)); draw(); } }, "Remove"))),
    h("div", null, h("button", { type: "button", class: "small", onclick: () => { store([...structuredClone(entries), initial(items, root)]); draw(); inside.querySelector(".entry:nth-last-child(2) details")?.setAttribute("open", ""); } }, "Add")));
  };
  draw();
  return part({ ...given, value: given.value ?? schema.default }, inside, false);
}
