/* Figures: Vega-Lite from the server, drawn here without eval, and its downloads. */

import { get, job as pathOf, save } from "./api.js";
import { fill, h } from "./dom.js";
import { loading, trouble } from "./parts.js";
import { theme } from "./palette.js";

const ERRORS = 1; // Vega's level of logging: an empty band of one seed is no warning to anyone

let library = null;

/** vegaEmbed, loaded when the first figure is opened. */
function vega() {
  library ??= new Promise((done, fail) => {
    const script = h("script", { src: "/web/vendor/vega.js", type: "module" });
    script.addEventListener("load", () => done(window.vegaEmbed));
    script.addEventListener("error", () => { library = null; fail(new Error("The drawing library could not be loaded.")); });
    document.head.append(script);
  });
  return library;
}

/** One figure as a card that draws itself when it comes into sight. */
export function figure(job, entry, signal) {
  const path = `${pathOf(job.id)}/figures/${encodeURIComponent(entry.name)}`;
  const plot = h("div", { class: "plot", tabindex: 0, role: "region", "aria-label": entry.title ?? entry.name });
  const stem = `${job.name || job.id}-${entry.name}`.replace(/[^\w.-]+/g, "-");
  const files = [["PNG", "image/png", "png"], ["SVG", "image/svg+xml", "svg"], ["PDF", "application/pdf", "pdf"], ["Vega-Lite", "application/vnd.vegalite.v5+json", "vl.json"]];
  const buttons = files.map(([name, accept, suffix]) => h("button", { type: "button", class: "small", onclick: () => save(path, `${stem}.${suffix}`, accept, { theme: "light" }) }, name));
  buttons.push(h("button", { type: "button", class: "small", onclick: () => csv(path, stem) }, "CSV"));
  const card = h("section", { class: "card figure", "aria-label": entry.title ?? entry.name, dataset: { figure: entry.name } },
    h("div", { class: "cardhead" }, h("h2", null, entry.title ?? entry.name), h("div", { class: "downloads", role: "group", "aria-label": "Download" }, buttons)),
    plot, entry.doc ? h("p", { class: "doc" }, entry.doc) : null);

  let view = null;
  async function draw() {
    fill(plot, loading("Drawing…"));
    try {
      const [embed, spec] = await Promise.all([vega(), get(path, { theme: theme() }, { signal, accept: "application/vnd.vegalite.v5+json" })]);
      if (signal.aborted) return;
      view?.finalize();
      plot.replaceChildren();
      const target = h("div");
      plot.append(target);
      // No style element, no eval: the content policy refuses both.
      view = await embed(target, fit(spec, plot.clientWidth), { ast: true, actions: false, defaultStyle: false, tooltip: { disableDefaultStyle: true }, renderer: "canvas", logLevel: ERRORS });
      plot.dataset.drawn = "yes";
    } catch (fault) {
      if (!signal.aborted && fault.name !== "AbortError") fill(plot, trouble(fault));
    }
  }
  const seen = new IntersectionObserver((entries) => { if (entries.some((one) => one.isIntersecting)) { seen.disconnect(); draw(); } }, { rootMargin: "300px" });
  seen.observe(card);
  addEventListener("bfc:theme", () => { if (plot.dataset.drawn) draw(); }, { signal });
  signal.addEventListener("abort", () => { seen.disconnect(); view?.finalize(); });
  return card;
}

/** A single view takes the width there is; composed ones keep theirs and scroll. */
function fit(spec, width) {
  const single = !("hconcat" in spec || "vconcat" in spec || "concat" in spec || "facet" in spec || "repeat" in spec);
  return single && width ? { ...spec, width: Math.min(900, width - 20), autosize: { type: "fit-x", contains: "padding" } } : spec;
}

/** The data that the figure shows, as CSV. */
async function csv(path, stem) {
  const spec = await get(path, {}, { accept: "application/vnd.vegalite.v5+json" });
  const sets = [...Object.values(spec.datasets ?? {}), ...(spec.data?.values ? [spec.data.values] : [])];
  const parts = sets.filter((rows) => Array.isArray(rows) && rows.length).map(table);
  const url = URL.createObjectURL(new Blob([parts.join("\n")], { type: "text/csv" }));
  h("a", { href: url, download: `${stem}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function table(rows) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const quote = (cell) => (cell === null || cell === undefined ? "" : /[",\n]/.test(String(cell)) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell));
  return `${[names, ...rows.map((row) => names.map((name) => row[name]))].map((cells) => cells.map(quote).join(",")).join("\n")}\n`;
}
