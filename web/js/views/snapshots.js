/* Snapshots of a job, and what one of them holds. */

import { all, create, get, job as pathOf, save } from "../api.js";
import { fill, h, toast } from "../dom.js";
import { bytes, moment, number, plural } from "../format.js";
import { FINAL, copyable, empty, facts, head, into, loading, lost } from "../parts.js";
import { go } from "../router.js";
import { tensorCard } from "../tensor.js";

export function snapshots(host, { job, signal }) {
  into(host, signal, async () => {
    const found = await all(`${pathOf(job.id)}/snapshots`, {}, 2000, { signal });
    if (!found.length) return empty("No snapshots", FINAL.has(job.state) ? "This job kept none." : "They appear as the job writes them.");
    const chosen = new Set();
    const compare = h("a", { class: "button", href: "#/compare", "aria-disabled": "true" }, "Compare two");
    const pick = (id, on) => {
      on ? chosen.add(id) : chosen.delete(id);
      const [a, b] = [...chosen].slice(-2);
      compare.setAttribute("href", `#/compare?sa=${a ?? ""}&sb=${b ?? ""}`);
      compare.setAttribute("aria-disabled", String(chosen.size < 2));
    };
    return h("section", { class: "card flush", "aria-label": "Snapshots" },
      h("div", { class: "cardhead" }, h("h2", null, plural(found.length, "snapshot")), compare),
      h("div", { class: "grid", tabindex: 0, role: "region", "aria-label": "Snapshots" }, h("table", null,
        h("thead", null, h("tr", null, ["", "Step", "Kind", "Tensors", "Size", "Made", "Id", ""].map((title) => h("th", { scope: "col", class: ["Step", "Tensors", "Size"].includes(title) ? "num" : "" }, title || h("span", { class: "sr" }, "Action"))))),
        h("tbody", null, found.map((one) => row(one, job, pick))))));
  });
}

function row(one, job, pick) {
  return h("tr", null,
    h("td", null, h("input", { type: "checkbox", "aria-label": `Choose the snapshot of step ${one.step}`, onchange: (event) => pick(one.id, event.target.checked) })),
    h("td", { class: "num" }, h("a", { href: `#/snapshots/${one.id}` }, number(one.step))), h("td", null, one.kind),
    h("td", { class: "num" }, one.tensors?.length ?? "–"), h("td", { class: "num" }, bytes(one.bytes)), h("td", { class: "dim" }, moment(one.created_at)), h("td", null, copyable(one.id)),
    h("td", null, h("button", { type: "button", class: "small", onclick: () => download(one, job) }, "Download"),
      one.kind === "checkpoint" ? h("button", { type: "button", class: "small", onclick: () => fork(one, job) }, "Fork") : null));
}

const download = (one, job) => save(`/v1/snapshots/${encodeURIComponent(one.id)}/download`, `${job?.name || one.job}-${one.kind}-${one.step}.safetensors`);

async function fork(one, job) {
  try {
    const made = await create(`${pathOf(job.id)}/fork`, { snapshot: one.id, spec: {} });
    toast("A new job starts from this checkpoint");
    go(`/jobs/${made.id}`);
  } catch (fault) { toast(fault.message); }
}

/** What the snapshot says of itself; the spec stands in its job. */
function about({ spec: _, ...meta }) {
  const shown = Object.fromEntries(Object.entries(meta).map(([name, value]) => [name, Array.isArray(value) ? value.join(", ") : typeof value === "object" && value ? JSON.stringify(value) : typeof value === "boolean" ? (value ? "yes" : "no") : value]));
  return Object.keys(shown).length ? h("section", { class: "card", style: { marginBottom: "18px" } }, facts(shown)) : null;
}

export async function snapshot({ main, given, signal }) {
  fill(main, loading());
  try {
    const found = await get(`/v1/snapshots/${encodeURIComponent(given.id)}`, {}, { signal });
    fill(main,
      head(`Step ${number(found.step)}`, [h("span", null, found.kind), copyable(found.id), h("span", { class: "dim" }, bytes(found.bytes)), h("a", { href: `#/jobs/${found.job}/snapshots` }, "its job")],
        h("a", { class: "button", href: `#/compare?sa=${found.id}` }, "Compare"), h("button", { type: "button", class: "strong", onclick: () => download(found) }, "Download safetensors")),
      about(found.meta ?? {}),
      h("section", { class: "card", "aria-label": "Tensors" }, h("h2", null, "Tensors"), h("div", { class: "tensors" }, found.tensors.map((entry) => tensorCard(found.id, entry, signal)))));
  } catch (fault) { if (fault.name !== "AbortError") fill(main, lost("Snapshot", fault)); }
}
