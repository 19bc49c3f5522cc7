/* Small parts that every view uses. */

import { fill, h, toast } from "./dom.js";
import { number, words } from "./format.js";

export const MARKS = { queued: "○", waiting: "◌", running: "●", pausing: "‖", paused: "‖", cancelling: "–", succeeded: "✓", failed: "✕", cancelled: "–" };
export const FINAL = new Set(["succeeded", "failed", "cancelled"]);
const VERDICTS = { supported: "✓", not_supported: "✕", underpowered: "?" };

export const pill = (state) => h("span", { class: `pill is-${state}` },
  h("span", { class: "mark", "aria-hidden": "true" }, MARKS[state] ?? VERDICTS[state] ?? "·"), words(state));

export const labels = (found) => Object.entries(found ?? {}).map(([name, value]) => h("span", { class: "label" }, `${name}: ${value}`));

export function copyable(text) {
  return h("button", { type: "button", class: "copy", title: "Copy", "aria-label": `Copy ${text}`, onclick: async (event) => {
    event.stopPropagation();
    try { await navigator.clipboard.writeText(text); toast("Copied"); } catch { toast(text); }
  } }, text);
}

export function fraction(job) {
  if (job.state === "succeeded") return 1;
  const { done, total } = job.progress ?? {};
  return total ? Math.min(1, done / total) : 0;
}

export function bar(job) {
  const part = fraction(job);
  return h("div", { class: `bar is-${job.state}`, role: "progressbar", "aria-label": "progress", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(100 * part) },
    h("i", { style: { width: `${100 * part}%` } }));
}

export function progressText(job) {
  const { done, total, unit } = job.progress ?? {};
  return total ? `${number(done)} of ${number(total)} ${unit}s` : "";
}

export function facts(pairs) {
  const shown = Object.entries(pairs).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "facts" }, shown.map(([name, value]) => [h("dt", null, words(name)), h("dd", null, typeof value === "number" ? number(value) : value)]));
}

/** Why something could not be shown, and what to do. */
export function trouble(fault) {
  const title = fault.title ?? (fault.name === "Error" ? "Not available" : fault.name);
  return h("div", { class: "error", role: "alert" }, h("strong", null, `${title}. `), fault.message,
    fault.errors?.length ? h("ul", null, fault.errors.map((one) => h("li", null, h("code", null, one.pointer || "/"), ` ${one.detail}`))) : null);
}

/** A view that could not be opened: its heading, why, and a way on. */
export const lost = (what, fault) => h("div", { class: "stack" }, h("h1", null, what), trouble(fault), h("p", null, h("a", { class: "button", href: "#/jobs" }, "Back to the jobs")));

export const empty = (title, text, ...more) => h("div", { class: "empty card" }, h("h2", null, title), h("p", null, text), more);
export const loading = (what = "Loading…") => h("p", { class: "loading" }, what);

/** Fills `host` with what `make` gives, or with the trouble it met. */
export async function into(host, signal, make, shown = loading()) {
  fill(host, shown);
  try {
    const made = await make();
    if (!signal.aborted) fill(host, made);
  } catch (fault) {
    if (!signal.aborted && fault.name !== "AbortError") fill(host, trouble(fault));
  }
}

/** JSON with its parts told apart by colour. */
export function json(value) {
  const text = JSON.stringify(value, null, 2) ?? "null";
  const pre = h("pre", { class: "json", tabindex: 0, role: "region", "aria-label": "JSON" });
  const token = /("(?:\\.|[^"\\])*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|\b(true|false|null)\b/g;
  let from = 0;
  for (const found of text.matchAll(token)) {
    pre.append(text.slice(from, found.index));
    const [whole, string, colon, digits, word] = found;
    if (string && colon) pre.append(h("span", { class: "k" }, string), colon);
    else pre.append(h("span", { class: string ? "s" : digits ? "n" : "w" }, string ?? digits ?? word));
    from = found.index + whole.length;
  }
  pre.append(text.slice(from));
  return pre;
}

/** Asks before something that cannot be undone. Resolves to true or false. */
export function confirm(title, text, verb) {
  return new Promise((answer) => {
    const box = h("dialog", { "aria-label": title }, h("div", { class: "stack" }, h("h2", null, title), h("p", null, text),
      h("div", { class: "actions" },
        h("button", { type: "button", onclick: () => box.close("no") }, "Keep"),
        h("button", { type: "button", class: "strong", onclick: () => box.close("yes") }, verb))));
    box.addEventListener("close", () => { box.remove(); answer(box.returnValue === "yes"); });
    document.body.append(box);
    box.showModal();
  });
}

/** A head with title, a line below it, and actions. */
export const head = (title, sub, ...actions) => h("div", { class: "head" },
  h("div", { class: "title" }, h("h1", null, title), sub ? h("div", { class: "sub" }, sub) : null),
  h("div", { class: "actions" }, actions));
