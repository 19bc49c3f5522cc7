/* Figures: Vega-Lite from the server, drawn here without eval, and its downloads. */

import { get, job as pathOf, save } from "./api.js";
import { fill, h, later } from "./dom.js";
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
  const told = h("div", { class: "note told" });
  const stem = `${job.name || job.id}-${entry.name}`.replace(/[^\w.-]+/g, "-");
  const files = [["PNG", "image/png", "png"], ["SVG", "image/svg+xml", "svg"], ["PDF", "application/pdf", "pdf"], ["Vega-Lite", "application/vnd.vegalite.v5+json", "vl.json"]];
  const buttons = files.map(([name, accept, suffix]) => h("button", { type: "button", class: "small", onclick: () => save(path, `${stem}.${suffix}`, accept, { theme: "light" }) }, name));
  buttons.push(h("button", { type: "button", class: "small", onclick: () => csv(path, stem) }, "CSV"));
  const card = h("section", { class: "card figure", "aria-label": entry.title ?? entry.name, dataset: { figure: entry.name } },
    h("div", { class: "cardhead" }, h("h2", null, entry.title ?? entry.name), h("div", { class: "downloads", role: "group", "aria-label": "Download" }, buttons)),
    told, plot, entry.doc ? h("p", { class: "doc" }, entry.doc) : null);

  let view = null, drawnAt = 0;
  async function draw() {
    fill(plot, loading("Drawing…"));
    drawnAt = innerWidth;
    try {
      const [embed, spec] = await Promise.all([vega(), get(path, { theme: theme() }, { signal, accept: "application/vnd.vegalite.v5+json" })]);
      if (signal.aborted) return;
      view?.finalize();
      plot.replaceChildren();
      const { title, ...drawn } = spec, target = h("div");
      fill(told, [title?.subtitle ?? []].flat().map((line) => h("p", null, line)));
      plot.append(target);
      const width = plot.clientWidth;
      view = await paint(embed, target, fit(drawn, width));
      const over = target.scrollWidth - width;
      if (over > 0 && !signal.aborted) {
        view.finalize();
        view = await paint(embed, target, narrower(fit(drawn, width), over));
      }
      plot.dataset.drawn = "yes";
    } catch (fault) {
      if (!signal.aborted && fault.name !== "AbortError") fill(plot, trouble(fault));
    }
  }
  const seen = new IntersectionObserver((entries) => { if (entries.some((one) => one.isIntersecting)) { seen.disconnect(); draw(); } }, { rootMargin: "300px" });
  seen.observe(card);
  addEventListener("bfc:theme", () => { if (plot.dataset.drawn) draw(); }, { signal });
  addEventListener("resize", later(() => { if (plot.dataset.drawn && innerWidth !== drawnAt && !signal.aborted) draw(); }, 300), { signal });
  signal.addEventListener("abort", () => { seen.disconnect(); view?.finalize(); });
  return card;
}

/** No style element, no eval: the content policy refuses both. */
async function paint(embed, target, spec) {
  return embed(target, spec, { ast: true, actions: false, defaultStyle: false, tooltip: { disableDefaultStyle: true }, renderer: "canvas", logLevel: ERRORS });
}

const NARROW = 640, SMALL = 10;
const COMPOSED = ["hconcat", "vconcat", "concat", "facet", "repeat"];

/** For the width there is: a single view takes all of it; where it is little, what stood beside each other stands below. */
function fit(spec, width) {
  const composed = COMPOSED.some((one) => one in spec);
  if (!composed && width) return { ...spec, width: Math.min(900, width - 20), autosize: { type: "fit-x", contains: "padding" } };
  return width >= NARROW ? legible(spec, width) : stacked(spec, width);
}

const LETTER = 6.2, SYMBOL = 40;

/** Legends in as many columns as the width holds: a longer row would be cut off at the edge. */
function legible(spec, width) {
  const made = { ...spec };
  for (const name of [...COMPOSED.slice(0, 3), "layer"]) if (Array.isArray(spec[name])) made[name] = spec[name].map((part) => legible(part, width));
  for (const [channel, said] of Object.entries(spec.encoding ?? {})) {
    const words = said?.scale?.domain;
    if (!said?.legend?.columns || !Array.isArray(words)) continue;
    const longest = Math.max(...words.map((word) => String(word).length));
    const columns = Math.max(1, Math.min(said.legend.columns, Math.floor(width / (LETTER * longest + SYMBOL))));
    made.encoding = { ...made.encoding, [channel]: { ...said, legend: { ...said.legend, columns } } };
  }
  return made;
}

function stacked(spec, width) {
  const { hconcat, vconcat, layer, ...rest } = spec;
  const down = (parts) => parts.map((part) => stacked(part, width));
  if (hconcat) return { ...rest, vconcat: down(hconcat) };
  if (vconcat) return { ...rest, vconcat: down(vconcat) };
  const made = { ...rest, ...(layer ? { layer: down(layer) } : {}) };
  if ("columns" in made) made.columns = 1;
  if (made.mark?.type === "text" && made.mark.fontSize > SMALL) made.mark = { ...made.mark, fontSize: SMALL };
  const y = made.encoding?.y;
  if (["nominal", "ordinal"].includes(y?.type) && y.axis !== null && !y.axis?.labelExpr) {
    made.encoding = { ...made.encoding, y: { ...y, axis: { ...y.axis, labelExpr: "split(datum.label, ': ')", labelLimit: Math.round(0.45 * width), labelFontSize: 9 } } };
  }
  for (const channel of ["color", "fill", "stroke", "shape"]) {
    const said = made.encoding?.[channel];
    if (said?.field && said.legend !== null) made.encoding = { ...made.encoding, [channel]: { ...said, legend: { ...said.legend, columns: 1, direction: "vertical", labelLimit: width - 60 } } };
  }
  return made;
}

/** The same with `over` pixels less in each row, but no view narrower than can be read: then it scrolls. */
function narrower(spec, over) {
  const { hconcat, vconcat } = spec;
  if (hconcat) return { ...spec, hconcat: hconcat.map((part) => narrower(part, over / hconcat.length)) };
  if (vconcat) return { ...spec, vconcat: vconcat.map((part) => narrower(part, over)) };
  return typeof spec.width === "number" ? { ...spec, width: Math.max(Math.min(spec.width, 120), Math.floor(spec.width - over - 2)) } : spec;
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
