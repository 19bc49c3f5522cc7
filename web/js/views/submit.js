/* A new job: a form built from the catalog's schemas alone, with what it would cost and what is wrong, as it is typed. */

import { create, get, job as pathOf, post } from "../api.js";
import { fill, h, later, prose, say, toast } from "../dom.js";
import { bytes, duration, number } from "../format.js";
import { form } from "../form/form.js";
import { prune } from "../form/schema.js";
import { head, into, loading, trouble } from "../parts.js";
import { go } from "../router.js";

const ORDER = ["study", "train", "sweep", "probe", "baseline"];

export function submit({ main, search, signal }) {
  const place = h("div");
  fill(main, head("New job", null), place);
  into(place, signal, async () => {
    const [{ items }, start] = await Promise.all([get("/v1/catalog", {}, { signal }), origin(search.get("from"), signal)]);
    const kinds = items.filter((word) => word.part === "job").sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind));
    const word = start && kinds.find((one) => one.kind === start.kind);
    return sheet(kinds, word ? { kind: start.kind, ...prune(start, word.schema, word.schema) } : { kind: search.get("kind") ?? "study" }, signal);
  }, loading("Reading the catalog…"));
}

/** The job that is copied, as it would be submitted again. */
async function origin(id, signal) {
  if (!id) return null;
  const { kind, name, labels, priority, spec } = await get(pathOf(id), {}, { signal });
  return { kind, name, labels, priority, spec };
}

function sheet(kinds, start, signal) {
  const words = new Map(kinds.map((word) => [word.kind, word]));
  let value = start.spec ? start : fresh(words.get(start.kind) ?? kinds[0]);
  let editor = null;
  const host = h("div"), cost = h("div", { "aria-live": "polite" }), wrong = h("div");
  const text = h("textarea", { rows: 14, spellcheck: "false", "aria-label": "The job as JSON" });
  const send = h("button", { type: "button", class: "strong", onclick: () => submitJob() }, "Submit");
  const doc = h("p", { class: "dim", style: { marginBottom: "14px" } });
  const chips = h("div", { class: "kinds", role: "group", "aria-label": "Kind of job" }, kinds.map((word) => h("button", { type: "button", class: "chip", dataset: { kind: word.kind }, onclick: () => { value = fresh(word); build(); } }, word.kind)));

  function build() {
    const word = words.get(value.kind) ?? kinds[0];
    for (const chip of chips.children) chip.setAttribute("aria-pressed", String(chip.dataset.kind === word.kind));
    fill(doc, prose(word.doc ?? word.title));
    editor = form(word.schema, value, () => { write(); check(); });
    fill(host, editor.node);
    write();
    check();
  }
  const write = () => { if (document.activeElement !== text) text.value = JSON.stringify(value, null, 1); };

  text.addEventListener("input", later(() => {
    try {
      value = JSON.parse(text.value);
      text.removeAttribute("aria-invalid");
      build();
    } catch (fault) {
      text.setAttribute("aria-invalid", "true");
      fill(wrong, trouble(Object.assign(new Error(fault.message), { title: "Not JSON yet" })));
    }
  }, 350));

  let round = 0;
  const check = later(async () => {
    round += 1;
    const mine = round;
    try {
      const found = await post("/v1/jobs", value, { params: { dry_run: "true" }, signal });
      if (mine !== round || signal.aborted) return;
      fill(cost, estimate(found));
      faults([]);
      send.disabled = false;
    } catch (fault) {
      if (mine !== round || signal.aborted || fault.name === "AbortError") return;
      fill(cost, null);
      if (fault.errors) faults(fault.errors, fault);
      else fill(wrong, trouble(fault));
      send.disabled = fault.status === 422 || fault.status === 400;
    }
  }, 350);

  function faults(found, fault) {
    editor.faults(found);
    if (!fault) { fill(wrong, null); return; }
    if (!found.length) { fill(wrong, trouble(fault)); return; }
    fill(wrong, h("div", { class: "error" }, h("strong", null, found.length === 1 ? "One field is wrong" : `${found.length} fields are wrong`),
      h("ul", { class: "faults", style: { marginTop: "8px" } }, found.slice(0, 12).map((one) => h("li", null,
        h("a", { href: "#", onclick: (event) => { event.preventDefault(); editor.focus(one.pointer); } }, one.pointer || "/"), h("div", null, one.detail))))));
  }

  async function submitJob() {
    send.disabled = true;
    try {
      const job = await create("/v1/jobs", value);
      toast("Submitted");
      go(`/jobs/${job.id}`);
    } catch (fault) {
      send.disabled = false;
      if (fault.errors?.length) { faults(fault.errors, fault); editor.focus(fault.errors[0].pointer); say(`${fault.errors.length} fields are wrong`); } else fill(wrong, trouble(fault));
    }
  }

  build();
  return h("div", null, chips, doc, h("div", { class: "sheet" }, host,
    h("aside", { "aria-label": "Cost, faults and JSON" }, h("div", { class: "actions" }, send, h("span", { class: "note" }, "checked as you type")), wrong, cost,
      h("details", { class: "part", open: true }, h("summary", null, h("span", { class: "what" }, "As JSON")), h("div", { class: "inside" }, text)))));
}

/** A new job of a kind: what must be given, from the catalog's example. */
function fresh(word) {
  const example = prune(word.example ?? {}, word.schema, word.schema);
  return { kind: word.kind, name: "", ...example, spec: example.spec ?? {} };
}

function estimate(found) {
  const { estimate: cost, members, power } = found;
  const shown = [["Time on one core", duration(cost.seconds)], members ? ["Member jobs", number(members)] : null, ["Parameters", number(cost.parameters)], ["Operations", number(cost.flops)],
    ["Memory", bytes(cost.memory_bytes)], cost.device_memory_bytes ? ["Device memory", bytes(cost.device_memory_bytes)] : null, ["Snapshots", bytes(cost.snapshot_bytes)]].filter(Boolean);
  return h("section", { class: "card", "aria-label": "Estimate" }, h("h2", null, "What it would take"), h("dl", { class: "estimate" }, shown.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))), powerLine(power));
}

function powerLine(power) {
  if (!power?.power) return null;
  const strong = power.power.at(-1), failures = power.failures_tolerated;
  const can = failures === null || failures === undefined ? `${power.seeds} seeds are too few for any verdict: every claim would be underpowered.`
    : `With ${power.seeds} seeds a claim holds if all but ${failures} of them show it. What ${Math.round(100 * strong.share)} % of seeds show is found with probability ${number(strong.power)}.`;
  return h("p", { class: "note", style: { marginTop: "12px" } }, can);
}
