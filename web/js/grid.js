/* A table that holds any number of rows and draws only those in sight. */

import { fill, h } from "./dom.js";
import { number } from "./format.js";

const MARGIN = 12; // rows drawn above and below what is in sight

/**
 * `columns`: [{title, class, unit, sort}], `row(index)`: a <tr>, `height`: of one row in pixels.
 * Gives {node, resize(count), refresh()}; `near()` is called when the last rows come into sight.
 */
export function grid({ columns, row, height, near, label, name = "" }) {
  const body = h("tbody");
  const header = h("thead", null, h("tr", null, columns.map((column) => column.node ?? h("th", { class: column.class, scope: "col" }, column.title, column.unit ? h("span", { class: "unit" }, ` ${column.unit}`) : null))));
  const node = h("div", { class: `grid ${name}`, tabindex: 0, role: "region", "aria-label": label }, h("table", null, header, body));
  let count = 0, drawn = "";

  function draw(force) {
    const seen = node.clientHeight || 600;
    const first = Math.max(0, Math.floor(node.scrollTop / height) - MARGIN);
    const last = Math.min(count, Math.ceil((node.scrollTop + seen) / height) + MARGIN);
    const now = `${first}:${last}:${count}`;
    if (now !== drawn || force) {
      drawn = now;
      const rows = [];
      for (let place = first; place < last; place += 1) rows.push(row(place));
      fill(body, spacer(first * height), rows, spacer((count - last) * height));
    }
    if (last >= count - MARGIN) near?.();
  }

  let asked = 0;
  node.addEventListener("scroll", () => { cancelAnimationFrame(asked); asked = requestAnimationFrame(() => draw(false)); }, { passive: true });
  new ResizeObserver(() => draw(false)).observe(node);
  return {
    node, body,
    resize(rows) { count = rows; draw(true); },
    refresh() { draw(true); },
  };
}

/** One cell alone: over several it would bring columns back that a narrow screen leaves out, and they take room. */
function spacer(height) {
  if (height <= 0) return null;
  return h("tr", { class: "spacer", "aria-hidden": "true" }, h("td", { style: { height: `${height}px` } }));
}

/** A result table: sortable by each column, numbers to the right. */
export function resultGrid(table, label) {
  const numeric = table.columns.map((_, place) => table.rows.some((cells) => typeof cells[place] === "number"));
  let rows = table.rows, by = null, down = false;
  const columns = table.columns.map((column, place) => {
    const node = h("th", { scope: "col", class: numeric[place] ? "num" : "", "aria-sort": "none" },
      h("button", { type: "button", onclick: () => sort(place) }, column.name, column.unit && column.unit !== column.name ? h("span", { class: "unit" }, ` ${column.unit}`) : null));
    return { node };
  });
  const made = grid({ columns, height: 35, label, row: (index) => h("tr", null, rows[index].map((cell, place) => h("td", { class: numeric[place] ? "num" : "" }, text(cell)))) });
  made.node.style.setProperty("--grid-height", "min(70vh, 620px)");

  function sort(place) {
    down = by === place ? !down : false;
    by = place;
    rows = [...table.rows].sort((a, b) => (down ? -1 : 1) * compare(a[place], b[place]));
    columns.forEach(({ node }, at) => node.setAttribute("aria-sort", at === place ? (down ? "descending" : "ascending") : "none"));
    made.refresh();
  }
  made.resize(rows.length);
  return made.node;
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
}

function text(cell) {
  if (cell === null || cell === undefined) return "–";
  if (typeof cell === "boolean") return cell ? "yes" : "no";
  if (typeof cell === "object") return JSON.stringify(cell);
  return number(cell);
}
