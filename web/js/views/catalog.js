/* Every word that a spec may use, with its documentation, source, fields and an example. */

import { get } from "../api.js";
import { fill, h, later, prose } from "../dom.js";
import { words } from "../format.js";
import { head, into, json } from "../parts.js";

export function catalog({ main, search, signal }) {
  const list = h("div", { class: "stack" });
  const field = h("input", { type: "search", placeholder: "Find a word", "aria-label": "Find a word", dataset: { filter: "" }, value: search.get("q") ?? "" });
  fill(main, head("Catalog", h("span", null, "Every word a spec may use"), field), list);
  into(list, signal, async () => {
    const { items } = await get("/v1/catalog", {}, { signal });
    const cards = [...Map.groupBy(items, (word) => word.part)].map(([part, found]) => section(part, found));
    const narrow = () => cards.forEach((card) => card.narrow(field.value.trim().toLowerCase()));
    field.addEventListener("input", later(narrow, 80));
    narrow();
    return cards.map((card) => card.node);
  });
}

function section(part, found) {
  const made = found.map((word) => ({ text: `${word.part} ${word.kind} ${word.title} ${word.doc}`.toLowerCase(), node: entry(word) }));
  const node = h("section", { class: "card", "aria-label": part }, h("h2", null, words(part)), h("div", null, made.map((one) => one.node)));
  return { node, narrow(text) {
    let any = false;
    for (const one of made) { one.node.hidden = !one.text.includes(text); any ||= !one.node.hidden; }
    node.hidden = !any;
  } };
}

function entry(word) {
  const fields = Object.entries(word.schema?.properties ?? {}).filter(([name]) => name !== "kind");
  return h("details", { class: "word" },
    h("summary", null, h("code", null, word.kind), "  ", h("span", { class: "dim" }, prose(word.title))),
    h("div", { class: "told" }, word.doc && word.doc.replace(/\.$/, "") !== word.title ? h("p", { style: { whiteSpace: "pre-line" } }, prose(word.doc)) : null,
    word.source ? h("p", { class: "note" }, `Source: ${word.source}`) : null,
    fields.length ? h("div", { class: "grid", tabindex: 0, role: "region", "aria-label": `Fields of ${word.kind}` }, h("table", null,
      h("thead", null, h("tr", null, ["Field", "Default", "What it is"].map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", null, fields.map(([name, schema]) => h("tr", null, h("td", null, h("code", null, name)),
        h("td", { class: "mono" }, schema.default === undefined ? ((word.schema.required ?? []).includes(name) ? "required" : "–") : short(schema.default)),
        h("td", { style: { whiteSpace: "normal", minWidth: "260px" } }, prose(schema.description))))))) : null,
    h("p", null, h("b", null, "Example")), json(word.example)));
}

function short(value) {
  const text = JSON.stringify(value);
  return text.length > 34 ? `${text.slice(0, 32)}…` : text;
}
