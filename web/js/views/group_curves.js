/* The curves of a study: choose rows of members and a series; thin lines are seeds. */

import { all, get, job as pathOf } from "../api.js";
import { chart } from "../chart.js";
import { fill, h } from "../dom.js";
import { words } from "../format.js";
import { empty, loading, trouble } from "../parts.js";
import { hue } from "../palette.js";
import { grouped } from "./members.js";

const MOST_ROWS = 4;

export async function groupCurves(job, signal) {
  const found = (await all(`${pathOf(job.id)}/children`, {}, 10_000, { signal })).filter((one) => one.kind === "train");
  const rows = grouped(found);
  if (!rows.length) return empty("No curves", "No member of this job trains anything.");
  const picked = new Set(rows.slice(0, 3).map(([name]) => name));
  const series = h("select", { "aria-label": "Series" });
  const plot = chart({ along: "step", title: job.name || job.id, height: 380 });
  const place = h("div", null, loading());
  let wanted = null;

  const chips = h("div", { class: "filters", role: "group", "aria-label": "Which members" }, rows.map(([name]) => h("button", {
    type: "button", class: "chip", "aria-pressed": String(picked.has(name)),
    onclick: (event) => {
      picked.has(name) ? picked.delete(name) : picked.add(name);
      if (picked.size > MOST_ROWS) picked.delete([...picked][0]);
      for (const chip of chips.children) chip.setAttribute("aria-pressed", String(picked.has(chip.textContent)));
      event.currentTarget.focus();
      draw();
    },
  }, name)));
  series.addEventListener("change", () => { wanted = series.value; draw(); });

  async function keys() {
    const first = rows.find(([name]) => picked.has(name))?.[1][0] ?? found[0];
    const reply = await get(`${pathOf(first.id)}/metrics`, { max_points: 1 }, { signal });
    return [...new Set(reply.series.map((one) => (one.layer === null ? one.key : `${one.key} @${one.layer}`)))];
  }

  async function draw() {
    try {
      const offered = await keys();
      if (!offered.length) { fill(place, empty("No points yet", "They appear as soon as a member writes its first.")); return; }
      wanted = offered.includes(wanted) ? wanted : offered.find((one) => one.startsWith("test_error")) ?? offered[0];
      fill(series, offered.map((one) => h("option", { value: one, selected: one === wanted }, words(one).replace("@", "of layer "))));
      const [key, layer] = wanted.split(" @");
      const chosen = rows.filter(([name]) => picked.has(name));
      const ids = chosen.flatMap(([, members]) => members.map((one) => one.id));
      const reply = ids.length ? await get("/v1/metrics", { jobs: ids.join(","), keys: key, max_points: 300 }, { signal }) : { series: [] };
      if (signal.aborted) return;
      const lines = chosen.flatMap(([name, members], at) => members.map((member, nth) => {
        const one = reply.series.find((found) => found.job === member.id && (layer === undefined || String(found.layer) === layer));
        return one ? { label: nth === 0 ? name : "", color: hue(at), steps: one.steps, values: one.values, thin: members.length > 1 } : null;
      })).filter(Boolean);
      if (plot.node.parentNode !== place) fill(place, plot.node);
      plot.set(lines);
    } catch (fault) { if (!signal.aborted && fault.name !== "AbortError") fill(place, trouble(fault)); }
  }
  draw();
  signal.addEventListener("abort", () => plot.destroy());
  return h("section", { class: "card stack", "aria-label": "Curves of the members" }, h("div", { class: "cardhead" }, h("h2", null, "Curves of the members"), h("label", { class: "check" }, "series ", series)), chips, place);
}
