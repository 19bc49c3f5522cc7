/* Starts the page: places, theme, the key, the connection, keys of the keyboard. */

import { key } from "./api.js";
import { h } from "./dom.js";
import { onConnection } from "./live.js";
import { go, route, show } from "./router.js";
import { catalog } from "./views/catalog.js";
import { compare } from "./views/compare.js";
import { datasets } from "./views/datasets.js";
import { jobView } from "./views/job.js";
import { jobs } from "./views/jobs.js";
import { keys } from "./views/keys.js";
import { snapshot } from "./views/snapshots.js";
import { submit } from "./views/submit.js";
import { workers } from "./views/workers.js";

route("/", jobs, "Jobs");
route("/jobs", jobs, "Jobs");
route("/jobs/:id/:tab?", jobView, "Job");
route("/new", submit, "New job");
route("/compare", compare, "Compare");
route("/catalog", catalog, "Catalog");
route("/snapshots/:id", snapshot, "Snapshot");
route("/datasets", datasets, "Data sets");
route("/workers", workers, "Workers");
route("/keys", keys, "Keys");

const root = document.documentElement;
const toggle = document.getElementById("theme");
const paintToggle = () => { toggle.textContent = root.dataset.theme === "dark" ? "☀" : "☾"; };
toggle.addEventListener("click", () => {
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("bfc.theme", root.dataset.theme); } catch { /* storage may be refused */ }
  dispatchEvent(new Event("bfc:theme"));
});
addEventListener("bfc:theme", paintToggle);
paintToggle();

const pulse = document.getElementById("pulse"), away = document.getElementById("away");
onConnection((state) => {
  pulse.dataset.state = state;
  pulse.textContent = { live: "live", lost: "reconnecting" }[state] ?? "";
  away.hidden = state !== "lost";
  away.textContent = state === "lost" ? "The lab does not answer. What you see may be old; the page goes on by itself when the lab is back." : "";
});

let asking = null;
addEventListener("bfc:key", (event) => askForKey(event.detail));
function askForKey(why) {
  if (asking) return;
  const secret = h("input", { type: "password", autocomplete: "off", required: true, "aria-label": "Key", placeholder: "bfc_…" });
  const keep = h("input", { type: "checkbox" });
  const box = h("dialog", { "aria-label": "A key is needed" }, h("form", { method: "dialog", onsubmit: () => key.set(secret.value.trim(), keep.checked) },
    h("h2", null, "A key is needed"), h("p", { class: "dim" }, key.get() ? "The lab refused the key that it was given." : why || "This lab is not open to everyone."),
    secret, h("label", { class: "check" }, keep, "Keep it in this browser"),
    h("div", { class: "actions" }, key.get() ? h("button", { type: "button", onclick: () => { key.forget(); box.close(); } }, "Forget the key") : null, h("button", { type: "submit", class: "strong" }, "Use this key"))));
  asking = box;
  box.addEventListener("close", () => { asking = null; box.remove(); show(); });
  document.body.append(box);
  box.showModal();
}

function help() {
  const rows = [["g j", "jobs"], ["g n", "new job"], ["g c", "compare"], ["g w", "workers"], ["/", "filter jobs"], ["j k", "down and up in the list"], ["Enter", "open"], ["← →", "read a curve"], ["?", "this help"]];
  const box = h("dialog", { "aria-label": "Keyboard" }, h("div", { class: "stack" }, h("h2", null, "Keyboard"),
    h("dl", { class: "facts" }, rows.map(([keys, what]) => [h("dt", null, keys.split(" ").map((one) => [h("kbd", null, one), " "])), h("dd", null, what)])),
    h("div", { class: "actions" }, h("button", { type: "button", class: "strong", onclick: () => box.close() }, "Close"))));
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
}

let before = "";
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName)) { if (event.key === "Escape") document.activeElement.blur(); return; }
  const target = before === "g" ? { j: "/jobs", n: "/new", c: "/compare", w: "/workers", k: "/keys", d: "/datasets" }[event.key] : null;
  before = event.key;
  setTimeout(() => { before = ""; }, 900);
  if (target) { event.preventDefault(); go(target); } else if (event.key === "?") help();
  else if (event.key === "/") { const field = document.querySelector("[data-filter]"); if (field) { event.preventDefault(); field.focus(); } }
});

addEventListener("hashchange", () => { show(); window.scrollTo(0, 0); });
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); document.getElementById("main").focus(); });
show();
