/* A job's series as charts: one chart a key, one line a layer; live while it runs; never more points than pixels. */

import { get, job as pathOf, query } from "./api.js";
import { chart } from "./chart.js";
import { fill, h, later, say } from "./dom.js";
import { words } from "./format.js";
import { follow } from "./live.js";
import { empty, loading, trouble } from "./parts.js";
import { hue, ramp } from "./palette.js";

const ORDER = ["train_loss", "test_error", "test_accuracy", "feature_error", "captured"];

/** The series that say most, for an overview. */
export const MAIN = ["train_loss", "test_error", "test_accuracy", "feature_error"];

/**
 * Draws into `host` until the signal aborts. `jobs`: [{id, label}]; one job is followed live while it is not final.
 * `only` names the series to ask for; where a job has none of them, all are.
 */
export function curves(host, jobs, signal, { live = false, only = null } = {}) {
  const charts = new Map();
  const bounds = { from: null, to: null };
  const points = () => Math.max(100, Math.min(4000, Math.round((host.clientWidth || 800) * 1.5)));
  const board = h("div", { class: "columns wide" }, loading("Reading the series…"));
  fill(host, board);

  async function read() {
    const shared = { max_points: points(), from_step: bounds.from, to_step: bounds.to };
    const ask = (keys) => (jobs.length === 1
      ? get(`${pathOf(jobs[0].id)}/metrics`, { ...shared, keys }, { signal })
      : get("/v1/metrics", { jobs: jobs.map((one) => one.id).join(","), ...shared, keys }, { signal }));
    let reply = await ask(only?.join(","));
    if (only && !reply.series.length) reply = await ask();
    if (!signal.aborted) draw(reply.series);
  }

  function draw(series) {
    const keys = [...new Set(series.map((one) => base(one.key)))].sort(byOrder);
    if (!keys.length) {
      fill(board, empty("No points yet", live ? "They appear here as soon as the job writes its first." : "This job recorded no series."));
      charts.clear();
      return;
    }
    if (!charts.size) board.replaceChildren();
    const drawn = series.reduce((sum, one) => sum + one.steps.length, 0);
    host.dataset.points = drawn;
    for (const key of keys) {
      const found = series.filter((one) => base(one.key) === key);
      if (!charts.has(key)) add(key, found[0].unit, found);
      charts.get(key).set(lines(found, jobs));
    }
  }

  function add(key, unit, found) {
    const made = chart({ along: "step", title: words(key), unit: unit ?? "", zoom: (from, to) => { bounds.from = from; bounds.to = to; tools(); refresh(); } });
    charts.set(key, made);
    board.append(h("section", { class: "card", "aria-label": words(key) },
      h("div", { class: "cardhead" }, h("h2", null, words(key)), h("div", { class: "downloads" },
        jobs.map((one) => h("button", { type: "button", class: "small quiet", onclick: () => csv(one, key, [...new Set(found.map((series) => series.key))]) }, jobs.length > 1 ? `CSV ${one.label}` : "CSV")).slice(0, 2))),
      made.node));
  }

  const reset = h("button", { type: "button", class: "small", onclick: () => { bounds.from = bounds.to = null; tools(); refresh(); } }, "Show all steps");
  function tools() {
    if (bounds.from === null) reset.remove();
    else { host.prepend(reset); say(`steps ${bounds.from} to ${bounds.to}`); }
  }

  const refresh = () => read().catch((fault) => { if (!signal.aborted && fault.name !== "AbortError") fill(board, trouble(fault)); });
  const soon = later(refresh, 250);
  let last = 0;
  refresh();
  if (live) {
    const steady = () => { if (Date.now() - last > 900) { last = Date.now(); refresh(); } else soon(); };
    follow(`${pathOf(jobs[0].id)}/events`, { hear: (event) => { if (event.type === "metric" || event.type === "state" || event.type === "rewound") steady(); }, opened: soon, signal, params: query({ members: "false", after: "now" }) }).catch(() => {});
  }
  const redraw = () => refresh();
  addEventListener("bfc:theme", redraw, { signal });
  signal.addEventListener("abort", () => { for (const one of charts.values()) one.destroy(); });
}

/** What a key measures, without which of its parts: `captured/0` is one of `captured`. */
const base = (key) => key.split("/")[0];
const partOf = (key) => key.split("/").slice(1).join("/");

/** Lines of one chart: by layer and part in one job; by job, and thin, where there are several. */
export function lines(series, jobs) {
  if (jobs.length === 1) {
    const named = series.map((one) => ({ one, label: [one.layer === null || one.layer === undefined ? "" : `layer ${one.layer}`, words(partOf(one.key))].filter(Boolean).join(" · ") }));
    named.sort((a, b) => a.label.localeCompare(b.label, "en", { numeric: true }));
    return named.map(({ one, label }, place) => ({ label, color: ramp(place, named.length), steps: one.steps, values: one.values }));
  }
  const several = new Set(series.map((one) => one.layer)).size > 1, parts = new Set(series.map((one) => one.key)).size > 1;
  return series.map((one) => {
    const place = jobs.findIndex((job) => job.id === one.job);
    const label = jobs[place]?.label ?? one.job;
    const more = [several && one.layer !== null ? `layer ${one.layer}` : "", parts ? words(partOf(one.key)) : ""].filter(Boolean);
    return { label: [label, ...more].join(" · "), color: hue(jobs[place]?.hue ?? place), steps: one.steps, values: one.values, thin: jobs.length > 8 };
  });
}

async function csv(job, key, keys) {
  const { series } = await get(`${pathOf(job.id)}/metrics`, { keys: keys.join(","), max_points: 1_000_000 });
  const rows = series.flatMap((one) => one.steps.map((step, place) => `${one.key},${one.layer ?? ""},${step},${one.values[place] ?? ""}`));
  const blob = new Blob([`key,layer,step,value\n${rows.join("\n")}\n`], { type: "text/csv" });
  const link = h("a", { href: URL.createObjectURL(blob), download: `${job.id}-${key}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function byOrder(a, b) {
  const place = (key) => { const at = ORDER.indexOf(key); return at < 0 ? ORDER.length : at; };
  return place(a) - place(b) || a.localeCompare(b);
}

