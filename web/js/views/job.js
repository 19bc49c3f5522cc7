/* One job of any kind: its head with actions, and tabs. What a tab shows is in a file of its own. */

import { get, job as pathOf, post, query, remove } from "../api.js";
import { curves } from "../curves.js";
import { fill, h, later, say, toast } from "../dom.js";
import { ago, duration, moment, plural, took } from "../format.js";
import { follow } from "../live.js";
import { FINAL, bar, confirm, copyable, into, labels, loading, lost, pill, progressText, trouble } from "../parts.js";
import { go } from "../router.js";
import { audit, provenance, spec, why } from "./ledger.js";
import { figures, tables } from "./outcome.js";
import { overview } from "./overview.js";
import { members } from "./members.js";
import { snapshots } from "./snapshots.js";

const GROUPS = new Set(["study", "sweep"]);
const CAN = {
  pause: ["queued", "running", "waiting"], resume: ["paused"], cancel: ["queued", "waiting", "running", "pausing", "paused"],
  retry: ["failed", "cancelled"], delete: [...FINAL],
};

export async function jobView({ main, given, signal }) {
  fill(main, loading());
  let job;
  try { job = await get(pathOf(given.id), {}, { signal }); } catch (fault) {
    if (fault.name !== "AbortError") fill(main, lost("Job", fault));
    return;
  }
  const heard = new Set();
  const context = { job, signal, onEvent: (tell, until = signal) => { heard.add(tell); until.addEventListener("abort", () => heard.delete(tell)); } };
  const top = h("div"), strip = h("nav", { class: "tabs", "aria-label": "Parts of the job" }), body = h("div");
  fill(main, top, strip, body);
  document.title = `${job.name || job.id} · BFC Lab`;

  const paint = () => { fill(top, header(job, act)); tabs(); };
  const chosen = given.tab || "overview";
  function tabs() {
    fill(strip, choices(job).map(([name, title, count]) => h("a", { href: `#/jobs/${job.id}${name === "overview" ? "" : `/${name}`}`, "aria-current": name === chosen ? "page" : null },
      title, count ? h("span", { class: "count" }, count) : null)));
    strip.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  let shown = null;
  function show() {
    shown?.abort();
    shown = new AbortController();
    signal.addEventListener("abort", () => shown.abort(), { once: true });
    const inner = { ...context, job, signal: shown.signal };
    const host = h("div", { class: "stack" });
    fill(body, host);
    const draw = { overview, members, tables, figures, snapshots, why, audit, spec, provenance, curves: drawCurves }[chosen];
    draw ? draw(host, inner) : fill(host, trouble(new Error(`There is no part ${chosen}.`)));
  }

  async function reload() {
    const before = job.state;
    Object.assign(job, await get(pathOf(job.id), {}, { signal }));
    paint();
    if (before !== job.state) {
      say(`${job.name || job.id} ${job.state}`);
      if (FINAL.has(job.state) || chosen === "why") show();
    }
  }
  const soon = later(() => reload().catch(() => {}), 150);

  async function act(verb) {
    try {
      if (verb === "delete") {
        if (!await confirm("Delete this job?", "Its series, results and snapshots go with it. This cannot be undone.", "Delete")) return;
        await remove(pathOf(job.id));
        toast("Deleted");
        go("/jobs");
        return;
      }
      await post(`${pathOf(job.id)}/${verb}`);
      await reload();
      if (!FINAL.has(job.state)) listen();
    } catch (fault) { toast(fault.message); soon(); }
  }

  let listening = false;
  function listen() {
    if (listening) return;
    listening = true;
    follow(`${pathOf(job.id)}/events`, {
      signal, params: query({ after: "now" }), opened: soon,
      hear: (event) => {
        for (const tell of heard) tell(event);
        if (event.job !== job.id) return;
        if (event.type === "state") soon();
        else if (event.type === "progress") { job.progress = { ...job.progress, ...event.data }; progress(); }
      },
    }).catch(() => {}).finally(() => { listening = false; });
  }
  function progress() {
    const old = top.querySelector(".live");
    if (old) old.replaceWith(liveLine(job));
  }

  paint();
  show();
  if (!FINAL.has(job.state)) listen();
  const clock = setInterval(() => { if (!FINAL.has(job.state)) progress(); }, 2000);
  signal.addEventListener("abort", () => clearInterval(clock));
}

function choices(job) {
  const group = GROUPS.has(job.kind);
  return [
    ["overview", "Overview"], group ? ["members", "Members"] : null, ["curves", "Curves"], ["tables", "Tables"], ["figures", "Figures"],
    job.kind === "train" ? ["snapshots", "Snapshots"] : null, ["why", "Why"], ["audit", "Audit"], ["spec", "Spec"], ["provenance", "Provenance"],
  ].filter(Boolean);
}

function header(job, act) {
  const buttons = Object.entries(CAN).filter(([, states]) => states.includes(job.state)).map(([verb]) =>
    h("button", { type: "button", class: verb === "cancel" || verb === "delete" ? "danger" : "", onclick: () => act(verb) }, verb[0].toUpperCase() + verb.slice(1)));
  const kind = job.spec?.kind && job.kind === "study" ? `${job.spec.kind.replaceAll("_", " ")} study` : job.kind;
  return h("div", null, h("div", { class: "head" },
    h("div", { class: "title" },
      job.parent ? h("p", { class: "note" }, h("a", { href: `#/jobs/${job.parent}` }, "← its study")) : null,
      h("h1", null, job.name || `A ${kind} job`),
      h("div", { class: "sub" }, pill(job.state), h("span", null, kind), copyable(job.id), labels(job.labels),
        h("span", { class: "dim", title: moment(job.created_at) }, `created ${ago(job.created_at)}`),
        job.started_at ? h("span", { class: "dim" }, job.finished_at ? `took ${took(job)}` : `running for ${took(job)}`) : null,
        job.attempt > 1 ? h("span", { class: "dim" }, plural(job.attempt, "attempt")) : null)),
    h("div", { class: "actions" }, buttons, h("a", { class: "button", href: `#/compare?a=${job.id}` }, "Compare"), h("a", { class: "button", href: `#/new?from=${job.id}` }, "Copy as new"))),
  liveLine(job), failure(job));
}

function liveLine(job) {
  if (FINAL.has(job.state)) return h("div", { class: "live", hidden: true });
  const eta = job.progress?.eta_seconds;
  return h("div", { class: "live", style: { marginBottom: "18px" } }, bar(job),
    h("div", { class: "note", style: { marginTop: "4px", display: "flex", justifyContent: "space-between", gap: "12px" } }, h("span", null, progressText(job) || job.reason || ""), eta ? h("span", null, `about ${duration(eta)} left`) : null));
}

function failure(job) {
  if (!job.error || job.state === "succeeded") return null;
  const { code, message, detail, hint, step, layer } = job.error;
  return h("div", { class: "error", role: "alert", style: { marginBottom: "18px" } }, h("strong", null, code ? `${code.replaceAll("_", " ")}. ` : ""), message ?? detail ?? "",
    step !== null && step !== undefined ? ` At step ${step}.` : "", layer ? ` In layer ${layer}.` : "", hint ? ` ${hint}` : "");
}

function drawCurves(host, { job, signal }) {
  if (!GROUPS.has(job.kind)) { curves(host, [{ id: job.id, label: job.name || job.id }], signal, { live: !FINAL.has(job.state) }); return; }
  into(host, signal, async () => (await import("./group_curves.js")).groupCurves(job, signal));
}

