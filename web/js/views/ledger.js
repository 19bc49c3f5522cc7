/* What the ledger knows of a job: why it is as it is, each attempt, its spec, where its numbers come from. */

import { get, job as pathOf } from "../api.js";
import { h } from "../dom.js";
import { ago, duration, moment, number, words } from "../format.js";
import { facts, into, json, pill } from "../parts.js";

export function why(host, { job, signal, onEvent }) {
  const read = () => into(host, signal, async () => {
    const found = await get(`${pathOf(job.id)}/why`, {}, { signal });
    const { says, next, state, job: _, ...rest } = found;
    return h("section", { class: "card stack", "aria-label": "Why" },
      h("div", null, pill(state)),
      h("p", { style: { font: "430 1.25rem/1.45 var(--serif)" } }, says ?? ""),
      next ? h("p", null, h("b", null, "Next: "), next) : null,
      facts(Object.fromEntries(Object.entries(rest).map(([name, value]) => [name, shown(name, value)]))));
  }, host.childNodes.length ? [...host.childNodes] : undefined);
  read();
  onEvent((event) => { if (event.type === "state" && event.job === job.id) read(); }, signal);
}

function shown(name, value) {
  if (value === null || value === undefined || value === "") return null;
  if (name.endsWith("_seconds")) return duration(value);
  if (typeof value === "string" && /^\d{4}-\d\d-\d\dT/.test(value)) return h("span", { title: moment(value) }, ago(value));
  if (Array.isArray(value)) return value.length ? value.map((one, place) => [place ? ", " : "", one?.id ? [h("a", { href: `#/jobs/${one.id}` }, one.id), ` ${one.state ?? ""}`] : String(one?.id ?? JSON.stringify(one))]) : null;
  if (typeof value === "object") {
    const parts = Object.entries(value);
    if (parts.every(([, one]) => one === null || typeof one !== "object")) return parts.map(([key, one]) => (typeof one === "number" ? `${number(one)} ${words(key)}` : `${words(key)} ${one ?? "–"}`)).join(", ");
    return h("code", null, JSON.stringify(value));
  }
  if (typeof value === "number") return number(value);
  if (/^job_/.test(value)) return h("a", { href: `#/jobs/${value}` }, value);
  return String(value);
}

export function audit(host, { job, signal }) {
  into(host, signal, async () => {
    const found = await get(`${pathOf(job.id)}/audit`, {}, { signal });
    return [section("Attempts", found.attempts, "Nobody has claimed this job yet."), found.steps ? section("Steps between states", found.steps, "None.") : null];
  });
}

function section(title, rows, none) {
  if (!rows?.length) return h("section", { class: "card" }, h("h2", null, title), h("p", { class: "dim" }, none));
  const named = rows.some((row) => row.worker_name);
  const names = Object.keys(rows[0]).filter((name) => !(named && name === "worker_id")).filter((name) => rows.some((row) => row[name] !== null && row[name] !== undefined && row[name] !== ""));
  return h("section", { class: "card flush", "aria-label": title }, h("div", { class: "cardhead" }, h("h2", null, title)),
    h("div", { class: "grid attempts", tabindex: 0, role: "region", "aria-label": title }, h("table", null,
      h("thead", null, h("tr", null, names.map((name) => h("th", { scope: "col" }, words(name))))),
      h("tbody", null, rows.map((row) => h("tr", null, names.map((name) => h("td", { title: name === "worker_name" ? row.worker_id : null }, cell(name, row[name])))))))));
}

function cell(name, value) {
  if (value === null || value === undefined) return "–";
  if (name === "counts") return value ? h("b", null, "counts") : "no";
  if (name === "source" || name === "target" || name === "state") return pill(value);
  if (name.endsWith("_at") || name === "at") return h("span", { title: String(value) }, moment(value));
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export function spec(host, { job }) {
  host.append(h("section", { class: "card", "aria-label": "Spec" },
    h("div", { class: "cardhead" }, h("h2", null, "Spec, with all defaults"), h("span", { class: "mono dim" }, job.spec_hash ?? "")),
    json({ kind: job.kind, name: job.name, labels: job.labels, priority: job.priority, spec: job.spec })));
}

export function provenance(host, { job }) {
  const found = job.provenance ?? {};
  host.append(h("section", { class: "card", "aria-label": "Provenance" }, h("h2", null, "Where the numbers come from"),
    Object.keys(found).length ? json(found) : h("p", { class: "dim" }, "Written when the job starts: versions, device, dtype, threads, and which attempt counts.")));
}
