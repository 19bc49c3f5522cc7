/* Access keys of the project, and the key that this browser uses. */

import { all, create, key, remove } from "../api.js";
import { fill, h, toast } from "../dom.js";
import { ago, moment } from "../format.js";
import { confirm, copyable, empty, head, into, trouble } from "../parts.js";
import { show } from "../router.js";

const SCOPES = { read: "read everything", submit: "submit and change jobs", admin: "make keys, import, delete" };

export function keys({ main, signal }) {
  const list = h("div", { class: "stack" }), made = h("div");
  const name = h("input", { type: "text", "aria-label": "Name", placeholder: "What is it for?", required: true });
  const boxes = Object.entries(SCOPES).map(([scope, what]) => h("label", { class: "check", title: what }, h("input", { type: "checkbox", value: scope, checked: scope !== "admin" }), scope));
  const form = h("form", { class: "filters", onsubmit: async (event) => {
    event.preventDefault();
    const scopes = boxes.map((box) => box.firstChild).filter((box) => box.checked).map((box) => box.value);
    try {
      const fresh = await create("/v1/keys", { name: name.value.trim(), scopes });
      fill(made, h("div", { class: "card", style: { background: "var(--good-soft)" } }, h("p", null, h("b", null, "Copy it now. "), "Only its hash is stored, and it is not shown again."), h("p", { style: { marginTop: "8px" } }, copyable(fresh.key))));
      name.value = "";
      read();
    } catch (fault) { fill(made, trouble(fault)); }
  } }, name, boxes, h("button", { type: "submit", class: "strong" }, "Make a key"));
  const mine = key.get();
  fill(main, head("Keys", mine ? [h("span", null, "This browser sends a key."), h("button", { type: "button", class: "small", onclick: () => { key.forget(); show(); } }, "Forget it")] : h("span", null, "This browser sends no key.")),
    h("div", { class: "stack" }, h("section", { class: "card", "aria-label": "New key" }, h("h2", null, "New key"), form), made, list));
  const read = () => into(list, signal, async () => {
    const found = await all("/v1/keys", {}, 1000, { signal });
    if (!found.length) return empty("No keys", "This lab answers without one from its own machine. Make keys before others are to use it.");
    return h("section", { class: "card flush", "aria-label": "Keys" }, h("div", { class: "grid", tabindex: 0, role: "region", "aria-label": "Keys" }, h("table", null,
      h("thead", null, h("tr", null, ["Name", "Scopes", "Id", "Made", "Last used", "Action"].map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", null, found.map((one) => h("tr", null, h("td", null, h("b", null, one.name || "–")), h("td", null, one.scopes.map((scope) => [h("span", { class: "label" }, scope), " "])), h("td", null, copyable(one.id)),
        h("td", { class: "dim", title: moment(one.created_at) }, ago(one.created_at)), h("td", { class: "dim" }, one.used_at ? ago(one.used_at) : "never"),
        h("td", null, h("button", { type: "button", class: "small danger", onclick: () => drop(one, read) }, "Delete"))))))));
  });
  read();
}

async function drop(one, done) {
  if (!await confirm("Delete this key?", `${one.name || one.id} stops working at once.`, "Delete")) return;
  try { await remove(`/v1/keys/${encodeURIComponent(one.id)}`); toast("Deleted"); done(); } catch (fault) { toast(fault.message); }
}
