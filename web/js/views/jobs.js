/* The list of jobs: live, filtered by the server, read by cursor as it scrolls, drawn only where it is in sight. */

import { get, query } from "../api.js";
import { h, later, say } from "../dom.js";
import { ago, moment, short, took } from "../format.js";
import { grid } from "../grid.js";
import { follow } from "../live.js";
import { bar, empty, head, pill, progressText, trouble } from "../parts.js";
import { go, remember } from "../router.js";

const PAGE = 100, TOP = 40, ROW = 46;
const STATES = ["running", "queued", "waiting", "paused", "succeeded", "failed", "cancelled"];
const KINDS = ["study", "sweep", "train", "probe", "baseline"];

export function jobs({ main, search, signal }) {
  const filter = { state: search.getAll("state"), kind: search.get("kind") ?? "", name: search.get("name") ?? "", label: search.get("label") ?? "", members: search.get("members") ?? "" };
  let rows = [], byId = new Map(), cursor = null, reading = false, current = -1, generation = 0;

  const list = grid({ columns: [{ title: "State", class: "state" }, { title: "Name", class: "name" }, { title: "Kind", class: "kind" }, { title: "Progress", class: "done" }, { title: "Created", class: "when" }, { title: "Took", class: "took num" }],
    height: ROW, row: (place) => line(rows[place], place === current), near: () => more(), label: "Jobs", name: "jobs card flush" });
  const place = h("div");
  main.replaceChildren(head("Jobs", null), filters(), place);
  place.append(list.node);

  const params = () => ({ state: filter.state, kind: filter.kind || null, name: filter.name || null, label: filter.label ? filter.label.split(/[\s,]+/) : null, parent: filter.members ? null : "none" });

  async function reset() {
    generation += 1;
    rows = []; byId = new Map(); cursor = null; current = -1; reading = false;
    remember(filter);
    list.resize(0);
    await more(true);
  }

  async function more(first = false) {
    if (reading || (!first && cursor === null)) return;
    reading = true;
    const mine = generation;
    try {
      const page = await get("/v1/jobs", { ...params(), limit: PAGE, cursor }, { signal });
      if (mine !== generation || signal.aborted) return;
      for (const job of page.items) add(job, rows.length);
      cursor = page.next;
      reading = false;
      shown(first);
    } catch (fault) {
      if (mine === generation && !signal.aborted && fault.name !== "AbortError") place.replaceChildren(trouble(fault));
    } finally { if (mine === generation) reading = false; }
  }

  function add(job, at) {
    if (byId.has(job.id)) Object.assign(byId.get(job.id), job);
    else { byId.set(job.id, job); rows.splice(at, 0, job); }
  }

  function shown(first) {
    if (first && !rows.length) {
      const narrowed = filter.state.length || filter.kind || filter.name || filter.label;
      place.replaceChildren(narrowed
        ? empty("No job fits these filters", "Take one away, or look at members of studies too.")
        : empty("No jobs yet", "Submit one here, from Python, or with bfc submit. It will appear by itself.", h("a", { class: "button strong", href: "#/new" }, "New job")));
      return;
    }
    if (list.node.parentNode !== place) place.replaceChildren(list.node);
    list.resize(rows.length);
    list.node.setAttribute("aria-label", `Jobs, ${rows.length} read${cursor ? ", more as you scroll" : ""}`);
  }

  /** What is new at the top, without losing the place in the list. */
  async function refreshTop() {
    const mine = generation;
    const page = await get("/v1/jobs", { ...params(), limit: TOP }, { signal });
    if (mine !== generation || signal.aborted) return;
    const fresh = page.items.filter((job) => !byId.has(job.id));
    for (const job of page.items) if (byId.has(job.id)) Object.assign(byId.get(job.id), job);
    fresh.reverse().forEach((job) => add(job, 0));
    if (rows.length) shown(false);
    if (fresh.length) say(`${fresh.length} new`);
  }

  const quietly = (work) => work().catch(() => {});
  const topSoon = later(() => quietly(refreshTop), 700);
  const redraw = later(() => { if (!signal.aborted) list.refresh(); }, 120);
  function hear(event) {
    const job = byId.get(event.job);
    if (!job) { if (event.type === "state") topSoon(); return; }
    if (event.type === "progress") job.progress = { ...job.progress, ...event.data };
    else if (event.type === "state") {
      job.state = event.data.state;
      if (job.state === "running") job.started_at ??= event.at;
      if (["succeeded", "failed", "cancelled"].includes(job.state)) { job.finished_at = event.at; topSoon(); }
    } else return;
    redraw();
  }

  function line(job, chosen) {
    return h("tr", { dataset: { id: job.id }, "aria-current": chosen ? "true" : null, onclick: (event) => { if (!event.target.closest("a, button") && !getSelection().toString()) go(`/jobs/${job.id}`); } },
      h("td", null, pill(job.state)),
      h("td", null, h("a", { href: `#/jobs/${job.id}` }, job.name || job.id), job.name ? h("span", { class: "id" }, job.id.slice(-6)) : null),
      h("td", { class: "kind dim" }, job.spec?.kind && job.kind === "study" ? `study · ${job.spec.kind}`.replaceAll("_", " ") : job.kind),
      h("td", { class: "done" }, ["running", "paused", "pausing"].includes(job.state) ? bar(job) : null, h("span", { class: "dim num" }, job.state === "succeeded" ? "" : progressText(job).replace(/ of /, "\u2009/\u2009").replace(/ \w+$/, ""))),
      h("td", { class: "when dim", title: moment(job.created_at) }, ago(job.created_at)),
      h("td", { class: "took dim num", title: took(job) }, took(job, short)));
  }

  function filters() {
    const changed = later(() => reset(), 250);
    const chips = STATES.map((state) => h("button", { type: "button", class: "chip", "aria-pressed": String(filter.state.includes(state)), onclick: (event) => {
      filter.state = filter.state.includes(state) ? filter.state.filter((one) => one !== state) : [...filter.state, state];
      event.currentTarget.setAttribute("aria-pressed", String(filter.state.includes(state)));
      reset();
    } }, state));
    const text = (field, placeholder, label) => h("input", { type: "search", placeholder, "aria-label": label, value: filter[field], dataset: field === "name" ? { filter: "" } : {}, oninput: (event) => { filter[field] = event.target.value.trim(); changed(); } });
    return h("div", { class: "filters", role: "search" },
      h("div", { class: "chips", role: "group", "aria-label": "States" }, chips),
      h("select", { "aria-label": "Kind", onchange: (event) => { filter.kind = event.target.value; reset(); } }, h("option", { value: "" }, "every kind"), KINDS.map((kind) => h("option", { value: kind, selected: filter.kind === kind }, kind))),
      text("name", "Name", "Name"), text("label", "label:value", "Label"),
      h("label", { class: "check" }, h("input", { type: "checkbox", checked: Boolean(filter.members), onchange: (event) => { filter.members = event.target.checked ? "1" : ""; reset(); } }), "members too"));
  }

  addEventListener("keydown", (event) => {
    const move = { j: 1, k: -1 }[event.key];
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName) || !rows.length) return;
    if (event.key === "Enter" && current >= 0 && !document.activeElement?.closest("a, button")) go(`/jobs/${rows[current].id}`);
    if (!move) return;
    current = Math.min(rows.length - 1, Math.max(0, current + move));
    const top = current * ROW, { scrollTop, clientHeight } = list.node;
    if (top < scrollTop) list.node.scrollTop = top;
    else if (top + 2 * ROW > scrollTop + clientHeight) list.node.scrollTop = top + 2 * ROW - clientHeight;
    list.refresh();
    say(rows[current].name || rows[current].id);
  }, { signal });

  reset();
  const clock = setInterval(() => redraw(), 10_000);
  signal.addEventListener("abort", () => clearInterval(clock));
  follow("/v1/events", { hear, opened: () => quietly(refreshTop), signal, params: query({ after: "now" }) }).catch(() => {});
}
