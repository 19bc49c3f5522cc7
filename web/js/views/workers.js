/* Workers and their devices, and what waits in the queues. */

import { get } from "../api.js";
import { fill, h } from "../dom.js";
import { ago, bytes, duration, moment, number } from "../format.js";
import { empty, head, trouble } from "../parts.js";

const EVERY_MS = 3000;

export function workers({ main, signal }) {
  const queues = h("section", { class: "card flush", "aria-label": "Queues" }), list = h("div", { class: "columns" }), used = h("div");
  fill(main, head("Workers and queues", null), h("div", { class: "stack" }, queues, list, used));
  async function read() {
    try {
      const [workers_, queues_, usage] = await Promise.all([get("/v1/workers", {}, { signal }), get("/v1/queues", {}, { signal }), get("/v1/usage", {}, { signal })]);
      if (signal.aborted) return;
      fill(queues, table(queues_.items));
      if (workers_.items.length) fill(list, workers_.items.map(card));
      else fill(list, empty("No worker is running", "Start one with bfc worker --device cpu. Jobs wait until then, and nothing is lost."));
      fill(used, usageCard(usage));
    } catch (fault) { if (!signal.aborted && fault.name !== "AbortError" && fault.name !== "Error") fill(list, trouble(fault)); else if (fault.status) fill(list, trouble(fault)); }
  }
  read();
  const clock = setInterval(read, EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(clock));
}

function table(found) {
  return [h("div", { class: "cardhead" }, h("h2", null, "Queues")),
    h("div", { class: "grid", tabindex: 0, role: "region", "aria-label": "Queues" }, h("table", null,
      h("thead", null, h("tr", null, [["Queue", ""], ["Waiting", "num"], ["Running", "num"], ["Workers", "num"], ["Oldest waits", "num"]].map(([title, style]) => h("th", { scope: "col", class: style }, title)))),
      h("tbody", null, found.length ? found.map((one) => h("tr", null, h("td", null, h("b", null, one.name)), h("td", { class: "num" }, number(one.queued)), h("td", { class: "num" }, number(one.running)), h("td", { class: "num" }, number(one.workers)),
        h("td", { class: "num" }, one.oldest_seconds === null || one.oldest_seconds === undefined ? "–" : duration(one.oldest_seconds)))) : h("tr", null, h("td", { colspan: 5, class: "dim" }, "No queue has been used yet.")))))];
}

function card(one) {
  const state = { busy: "running", idle: "succeeded", lost: "failed", gone: "cancelled", draining: "paused" }[one.state] ?? "queued";
  return h("section", { class: "card device", "aria-label": one.name },
    h("div", { class: "cardhead" }, h("h2", null, one.name), h("span", { class: `pill is-${state}` }, one.state)),
    h("div", { class: "dim" }, `${one.device} on ${one.host}, version ${one.version}`),
    meter("Memory", one.memory_bytes - one.memory_free_bytes, one.memory_bytes),
    one.device_memory_bytes ? meter("Device memory", one.device_memory_bytes - one.device_memory_free_bytes, one.device_memory_bytes) : null,
    h("div", { class: "note" }, h("span", { title: moment(one.heard_at) }, `heard ${ago(one.heard_at)}`), ", ", h("span", { title: moment(one.started_at) }, `started ${ago(one.started_at)}`)),
    one.jobs?.length ? h("div", null, "runs ", one.jobs.slice(0, 6).map((id) => [h("a", { class: "mono", href: `#/jobs/${id}` }, id.slice(-8)), " "]), one.jobs.length > 6 ? `and ${one.jobs.length - 6} more` : "") : null);
}

function meter(name, used, all) {
  if (!all) return null;
  return h("div", { class: "meter" }, h("span", null, `${name}: ${bytes(used)} of ${bytes(all)} in use`),
    h("div", { class: "bar", role: "meter", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round((100 * used) / all) }, h("i", { style: { width: `${(100 * used) / all}%` } })));
}

function usageCard(usage) {
  const jobs = Object.entries(usage.jobs ?? {}).filter(([, count]) => count > 0);
  return h("section", { class: "card", "aria-label": "Usage" }, h("h2", null, "What this project uses"),
    h("dl", { class: "estimate", style: { gridTemplateColumns: "repeat(auto-fill, minmax(130px, 1fr))" } },
      [["Snapshots", bytes(usage.snapshot_bytes)], ["Data sets", bytes(usage.dataset_bytes)], ["Time of all jobs", duration(usage.run_seconds)], ...jobs.map(([state, count]) => [`Jobs ${state}`, number(count)])]
        .map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))),
    Object.keys(usage.quotas ?? {}).length ? h("p", { class: "note", style: { marginTop: "10px" } }, "Limits: ", Object.entries(usage.quotas).map(([name, value]) => `${name.replaceAll("_", " ")} ${name.endsWith("_bytes") ? bytes(value) : number(value)}`).join(", ")) : null);
}

