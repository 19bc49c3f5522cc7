/* What a job is about, at a glance: for a study its claims, figures and members; for others its numbers and curves. */

import { get, job as pathOf } from "../api.js";
import { MAIN, curves } from "../curves.js";
import { fill, h } from "../dom.js";
import { figure } from "../figure.js";
import { number, words } from "../format.js";
import { FINAL, into, trouble } from "../parts.js";
import { claims } from "./claims.js";
import { memberGrid } from "./members.js";

export function overview(host, context) {
  const { job } = context;
  if (job.kind === "study" || job.kind === "sweep") group(host, context);
  else single(host, context);
}

function group(host, context) {
  const { job, signal } = context;
  const outcome = h("div", { class: "stack" }), grid = h("section", { class: "card", "aria-label": "Members" });
  const ended = FINAL.has(job.state);
  fill(host, ended ? [outcome, grid] : [grid, outcome]);
  memberGrid(grid, context);
  if (ended) into(outcome, signal, () => concluded(job, signal), null);
}

async function concluded(job, signal) {
  let results;
  try { results = await get(`${pathOf(job.id)}/results`, {}, { signal }); } catch (fault) {
    return fault.status === 409 ? null : trouble(fault);
  }
  const found = results.summary.claims ?? [];
  const { items } = await get(`${pathOf(job.id)}/figures`, {}, { signal }).catch(() => ({ items: [] }));
  return [
    found.length ? h("section", { "aria-label": "Claims" }, h("h2", { style: { marginBottom: "10px" } }, "What it found"), claims(found)) : null,
    numbers(results.summary),
    ...items.map((entry) => figure(job, entry, signal)),
  ];
}

function single(host, context) {
  const { job, signal } = context;
  const summary = h("div"), plots = h("div");
  fill(host, summary, plots);
  if (job.result) fill(summary, numbers(job.result));
  curves(plots, [{ id: job.id, label: job.name || job.id }], signal, { live: !FINAL.has(job.state), only: MAIN });
}

/** The numbers of a summary, each with its name. */
export function numbers(summary) {
  const plain = Object.entries(summary ?? {}).filter(([, value]) => value === null || ["number", "string", "boolean"].includes(typeof value));
  if (!plain.length) return null;
  return h("section", { class: "card", "aria-label": "Summary" }, h("h2", null, "Summary"),
    h("dl", { class: "estimate", style: { gridTemplateColumns: "repeat(auto-fill, minmax(140px, 1fr))" } },
      plain.map(([name, value]) => h("div", null, h("dt", null, words(name)), h("dd", null, typeof value === "boolean" ? (value ? "yes" : "no") : number(value))))));
}

