/* Two jobs, or two snapshots, side by side: specs, numbers, curves; similarities and tensors. */

import { get, job as pathOf, post } from "../api.js";
import { MAIN, curves } from "../curves.js";
import { fill, h } from "../dom.js";
import { number, words } from "../format.js";
import { empty, head, into, pill } from "../parts.js";
import { remember } from "../router.js";
import { tensorCard } from "../tensor.js";

const MEASURES = ["cka", "cka_biased", "svcca", "pwcca", "procrustes", "subspace_angles", "ridge"];

export function compare({ main, search, signal }) {
  const chosen = { a: search.get("a") ?? "", b: search.get("b") ?? "", sa: search.get("sa") ?? "", sb: search.get("sb") ?? "" };
  const jobs = h("div", { class: "stack" }), shots = h("div", { class: "stack" });
  const input = (field, label, list) => h("label", null, label, h("input", { type: "text", value: chosen[field], list, placeholder: field.startsWith("s") ? "snap_…" : "job_…", spellcheck: "false", onchange: (event) => { chosen[field] = event.target.value.trim(); update(); } }));
  const known = h("datalist", { id: "known-jobs" });
  fill(main, head("Compare", null), known,
    h("section", { class: "card", "aria-label": "Which jobs" }, h("h2", null, "Two jobs"), h("div", { class: "pickers" }, input("a", "First", "known-jobs"), input("b", "Second", "known-jobs"))),
    h("div", { style: { height: "18px" } }), jobs, h("div", { style: { height: "18px" } }),
    h("section", { class: "card", "aria-label": "Which snapshots" }, h("h2", null, "Two snapshots"), h("p", { class: "note", style: { marginBottom: "10px" } }, "Before and after correction, for instance: choose them in a job's snapshots, or give their ids."), h("div", { class: "pickers" }, input("sa", "Before", null), input("sb", "After", null))),
    h("div", { style: { height: "18px" } }), shots);
  get("/v1/jobs", { limit: 60, parent: "none" }, { signal }).then(({ items }) => fill(known, items.map((one) => h("option", { value: one.id }, `${one.name || one.kind} · ${one.state}`)))).catch(() => {});

  let round = new AbortController();
  function update() {
    round.abort();
    round = new AbortController();
    signal.addEventListener("abort", () => round.abort(), { once: true });
    remember(chosen);
    if (chosen.a && chosen.b) into(jobs, round.signal, () => twoJobs(chosen.a, chosen.b, round.signal));
    else fill(jobs, chosen.a || chosen.b ? empty("One more", "Give the id of a second job.") : null);
    if (chosen.sa && chosen.sb) into(shots, round.signal, () => twoSnapshots(chosen.sa, chosen.sb, round.signal));
    else fill(shots, null);
  }
  update();
}

async function twoJobs(a, b, signal) {
  const [first, second] = await Promise.all([a, b].map((id) => get(pathOf(id), {}, { signal })));
  const plots = h("div");
  queueMicrotask(() => curves(plots, [{ id: a, label: name(first), hue: 0 }, { id: b, label: name(second) === name(first) ? `${name(second)} (2)` : name(second), hue: 1 }], signal, { only: MAIN }));
  return [
    h("section", { class: "card flush", "aria-label": "Differences of the specs" }, h("div", { class: "cardhead" }, h("h2", null, "What differs in the specs")), differences(flat(first.spec), flat(second.spec), first, second)),
    h("section", { class: "card flush", "aria-label": "Results" }, h("div", { class: "cardhead" }, h("h2", null, "Results")), beside(first, second)),
    plots,
  ];
}

const name = (job) => job.name || job.id.slice(-8);

function differences(was, is, first, second) {
  const paths = [...new Set([...Object.keys(was), ...Object.keys(is)])].filter((path) => was[path] !== is[path]).sort();
  if (!paths.length) return h("p", { class: "note", style: { padding: "0 18px 16px" } }, "Nothing: both have the same spec.");
  return table([["Field", ""], [name(first), ""], [name(second), ""]], paths.map((path) => [[path, ""], [was[path] ?? "–", "was"], [is[path] ?? "–", "is"]]), "diff");
}

function beside(first, second) {
  const left = first.result ?? {}, right = second.result ?? {};
  const names = [...new Set([...Object.keys(left), ...Object.keys(right)])].filter((key) => [left[key], right[key]].some((value) => ["number", "string", "boolean"].includes(typeof value)));
  const rows = names.map((key) => [[words(key), ""], [shown(left[key]), "num"], [shown(right[key]), "num"], [ratio(left[key], right[key]), "num dim"]]);
  rows.unshift([["state", ""], [pill(first.state), "num"], [pill(second.state), "num"], ["", ""]]);
  return table([["", ""], [name(first), "num"], [name(second), "num"], ["second / first", "num"]], rows, "");
}

const shown = (value) => (typeof value === "boolean" ? (value ? "yes" : "no") : number(value));
const ratio = (a, b) => (typeof a === "number" && typeof b === "number" && a !== 0 ? number(b / a) : "");

function table(heads, rows, kind) {
  return h("div", { class: `grid ${kind}`, tabindex: 0, role: "region", "aria-label": "Comparison" }, h("table", null,
    h("thead", null, h("tr", null, heads.map(([title, style]) => h("th", { scope: "col", class: style }, title || h("span", { class: "sr" }, "Field"))))),
    h("tbody", null, rows.map((cells) => h("tr", null, cells.map(([value, style]) => h("td", { class: style }, value)))))));
}

/** Every leaf of a spec by its path. */
export function flat(value, path = "") {
  if (value === null || typeof value !== "object" || (Array.isArray(value) && value.every((one) => typeof one !== "object"))) return { [path || "/"]: JSON.stringify(value) };
  return Object.assign({}, ...Object.entries(value).map(([key, inner]) => flat(inner, `${path}/${key}`)));
}

async function twoSnapshots(a, b, signal) {
  const [before, after] = await Promise.all([a, b].map((id) => get(`/v1/snapshots/${encodeURIComponent(id)}`, {}, { signal })));
  const measure = h("select", { "aria-label": "Measure" }, MEASURES.map((one) => h("option", { value: one }, words(one))));
  const answer = h("div");
  const names = [before, after].map((one) => `step ${number(one.step)}`);
  const ask = () => into(answer, signal, async () => {
    const { items } = await post("/v1/compare", { snapshots: [a, b], probe: { kind: measure.value } }, { signal });
    return items.map((one) => matrix(one, ...(one.first === a ? names : [...names].reverse())));
  });
  const features = before.kind === "features" && after.kind === "features";
  measure.addEventListener("change", ask);
  if (features) ask();
  const shared = before.tensors.filter((entry) => after.tensors.some((one) => one.name === entry.name));
  return [
    features ? h("section", { class: "card stack", "aria-label": "Similarity" }, h("div", { class: "cardhead" }, h("h2", null, "How alike"), h("label", { class: "check" }, "measure ", measure)), answer)
      : h("p", { class: "note" }, "Similarities are computed from snapshots of features on equal inputs; of weights the tensors themselves are shown."),
    h("section", { class: "card stack", "aria-label": "Tensors side by side" }, h("h2", null, "Before and after"),
      shared.length ? shared.map((entry) => h("div", null, h("h3", { style: { marginBottom: "8px" } }, entry.name), h("div", { class: "side" },
        tensorCard(a, entry, signal, `step ${number(before.step)}`), tensorCard(b, after.tensors.find((one) => one.name === entry.name), signal, `step ${number(after.step)}`))))
        : h("p", { class: "dim" }, "They share no tensor of the same name.")),
  ];
}

/** Layers of one against layers of the other, as dark as alike. */
function matrix({ rows, columns, values, undefined: without }, a, b) {
  const why = new Map(without.map((one) => [`${one.row},${one.column}`, one.reason]));
  return h("div", { class: "grid", tabindex: 0, role: "region", "aria-label": "Similarities" }, h("table", { class: "heat" },
    h("thead", null, h("tr", null, h("th", { scope: "col" }, `${a} \u2193  ${b} \u2192`), columns.map((name) => h("th", { scope: "col", class: "num" }, `layer ${name}`)))),
    h("tbody", null, values.map((line, at) => h("tr", null, h("th", { scope: "row" }, `layer ${rows[at]}`), line.map((value, place) => {
      const strong = Math.max(0, Math.min(1, value ?? 0));
      return h("td", { class: "num", title: why.get(`${at},${place}`) ?? "", style: { background: `color-mix(in srgb, var(--accent-soft) ${Math.round(100 * strong)}%, transparent)` } }, number(value));
    }))))));
}
