/* Tables and figures of a job. */

import { get, job as pathOf, save } from "../api.js";
import { h } from "../dom.js";
import { figure } from "../figure.js";
import { plural, words } from "../format.js";
import { resultGrid } from "../grid.js";
import { FINAL, empty, into } from "../parts.js";

export function tables(host, { job, signal }) {
  into(host, signal, async () => {
    const results = await read(job, signal);
    const names = Object.keys(results?.tables ?? {});
    if (!names.length) return empty("No tables", FINAL.has(job.state) ? "This job left no tables." : "They appear when the job has ended.");
    return names.map((name) => table(job, name, results.tables[name]));
  });
}

function table(job, name, found) {
  const stem = `${job.name || job.id}-${name}`.replace(/[^\w.-]+/g, "-");
  return h("section", { class: "card flush", "aria-label": words(name), dataset: { table: name } },
    h("div", { class: "cardhead" }, h("h2", null, words(name)),
      h("div", { class: "downloads" }, h("span", { class: "note" }, plural(found.rows.length, "row")),
        h("button", { type: "button", class: "small", onclick: () => save(`${pathOf(job.id)}/results`, `${stem}.csv`, "text/csv", { table: name }) }, "CSV"))),
    found.rows.length ? resultGrid(found, words(name)) : h("p", { class: "note", style: { padding: "0 18px 16px" } }, "No rows."));
}

export function figures(host, { job, signal }) {
  into(host, signal, async () => {
    const { items } = await get(`${pathOf(job.id)}/figures`, {}, { signal });
    if (!items.length) return empty("No figures", FINAL.has(job.state) ? "No figure can be drawn of this job." : "They can be drawn when the job has ended.");
    return items.map((entry) => figure(job, entry, signal));
  });
}

/** Results, or null while there are none. */
async function read(job, signal) {
  try { return await get(`${pathOf(job.id)}/results`, {}, { signal }); } catch (fault) {
    if (fault.status === 409) return null;
    throw fault;
  }
}

