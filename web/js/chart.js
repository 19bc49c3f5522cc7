/* A line chart on a canvas: many points, live, with a cross-hair, a legend that hides lines, and zoom by dragging. */

import { fill, h } from "./dom.js";
import { number } from "./format.js";
import { css } from "./palette.js";
import { around, scale, wantsLog } from "./scale.js";

const PAD = { left: 58, right: 22, top: 10, bottom: 30 };

/**
 * `unit` stands at the top right, `along` names the horizontal axis.
 * `lines`: [{label, color, steps, values, thin}]; `zoom(from, to)` is called with steps, or with nulls to see all.
 * Gives {node, set(lines, {marks}), destroy()}.
 */
export function chart({ title, unit = "", along = "", zoom = null, height = 240 }) {
  const canvas = h("canvas", { "aria-hidden": "true" });
  const tip = h("div", { class: "tip", hidden: true });
  const box = h("div", { class: "canvas", tabindex: 0, role: "img", style: { height: `${height}px` } }, canvas, tip);
  const keys = h("div", { class: "keys" });
  const node = h("div", { class: "chart" }, box, keys);
  const state = { lines: [], marks: [], hidden: new Set(), at: null, drag: null, log: false };

  function set(lines, { marks = [] } = {}) {
    state.lines = lines;
    state.marks = marks;
    state.log = wantsLog(lines.flatMap((line) => line.values));
    box.setAttribute("aria-label", described(title, lines));
    legend();
    draw();
  }

  function legend() {
    const named = state.lines.filter((line) => line.label);
    fill(keys, named.length > 1 ? named.slice(0, 24).map((line) => h("button", {
      type: "button", "aria-pressed": String(!state.hidden.has(line.label)),
      onclick: () => { state.hidden.has(line.label) ? state.hidden.delete(line.label) : state.hidden.add(line.label); legend(); draw(); },
    }, h("span", { class: "swatch", style: { color: line.color } }), line.label)) : null);
  }

  const shown = () => state.lines.filter((line) => !state.hidden.has(line.label));

  function axes() {
    const width = box.clientWidth, tall = box.clientHeight;
    const lines = shown();
    let first = Infinity, last = -Infinity;
    for (const line of lines) if (line.steps.length) { first = Math.min(first, line.steps[0]); last = Math.max(last, line.steps.at(-1)); }
    if (first > last) { first = 0; last = 1; }
    const x = scale([first, last === first ? first + 1 : last], [PAD.left, width - PAD.right]);
    const y = scale(around(lines.flatMap((line) => line.values), state.log), [tall - PAD.bottom, PAD.top], state.log);
    return { width, tall, x, y };
  }

  function draw() {
    const { width, tall, x, y } = axes();
    if (!width) return;
    const ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(tall * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(tall * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, tall);
    frame(pen, { width, tall, x, y });
    pen.save();
    pen.beginPath();
    pen.rect(PAD.left, PAD.top - 2, width - PAD.left - PAD.right, tall - PAD.top - PAD.bottom + 4);
    pen.clip();
    for (const step of state.marks) dashed(pen, x(step), PAD.top, tall - PAD.bottom);
    // The first on top: where lines share their beginning, the shorter one is not hidden under the longer.
    for (const line of [...shown()].reverse()) stroke(pen, line, x, y);
    if (state.drag) {
      pen.fillStyle = css("--accent-soft");
      pen.globalAlpha = 0.5;
      pen.fillRect(Math.min(state.drag.from, state.drag.to), PAD.top, Math.abs(state.drag.to - state.drag.from), tall - PAD.top - PAD.bottom);
      pen.globalAlpha = 1;
    }
    if (state.at !== null) dashed(pen, x(state.at), PAD.top, tall - PAD.bottom);
    pen.restore();
    point(x, y, width);
  }

  function frame(pen, { width, tall, x, y }) {
    pen.font = `12px ${css("--sans")}`;
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const value of y.ticks(5)) {
      const at = Math.round(y(value)) + 0.5;
      pen.strokeStyle = css("--line");
      pen.beginPath(); pen.moveTo(PAD.left, at); pen.lineTo(width - PAD.right, at); pen.stroke();
      pen.fillStyle = css("--ink-3");
      pen.fillText(number(value), PAD.left - 8, at);
    }
    pen.textBaseline = "top";
    pen.textAlign = "center";
    pen.fillStyle = css("--ink-3");
    for (const step of x.ticks(Math.max(3, width / 110))) pen.fillText(number(step), x(step), tall - PAD.bottom + 9);
    pen.textAlign = "right";
    if (along) pen.fillText(along, PAD.left - 16, tall - PAD.bottom + 9);
    if (unit) pen.fillText(unit, width - PAD.right, PAD.top);
  }

  function stroke(pen, line, x, y) {
    pen.strokeStyle = line.color;
    pen.globalAlpha = line.thin ? 0.45 : 1;
    pen.lineWidth = line.thin ? 1 : 1.8;
    pen.lineJoin = "round";
    pen.beginPath();
    let open = false;
    for (let place = 0; place < line.steps.length; place += 1) {
      const value = line.values[place];
      if (value === null || !Number.isFinite(value) || (state.log && value <= 0)) { open = false; continue; }
      const px = x(line.steps[place]), py = y(value);
      if (open) pen.lineTo(px, py); else pen.moveTo(px, py);
      open = true;
    }
    pen.stroke();
    if (line.steps.length < 40 && !line.thin) dots(pen, line, x, y);
    pen.globalAlpha = 1;
  }

  function dots(pen, line, x, y) {
    pen.fillStyle = line.color;
    for (let place = 0; place < line.steps.length; place += 1) {
      const value = line.values[place];
      if (value === null || (state.log && value <= 0)) continue;
      pen.beginPath(); pen.arc(x(line.steps[place]), y(value), 2.4, 0, 7); pen.fill();
    }
  }

  function point(x, y, width) {
    if (state.at === null) { tip.hidden = true; return; }
    const rows = shown().filter((line) => line.label || !line.thin).map((line) => {
      const place = nearest(line.steps, state.at);
      return place === null ? null : { line, step: line.steps[place], value: line.values[place] };
    }).filter(Boolean).slice(0, 12);
    if (!rows.length) { tip.hidden = true; return; }
    tip.hidden = false;
    fill(tip, h("div", { class: "dim" }, `step ${number(Math.round(state.at))}`), rows.map(({ line, value }) => h("div", null,
      h("span", { class: "swatch", style: { color: line.color } }), line.label ? `${line.label}  ` : "", h("b", null, number(value)))));
    const px = x(state.at);
    tip.style.left = px > width / 2 ? "" : `${px + 12}px`;
    tip.style.right = px > width / 2 ? `${width - px + 12}px` : "";
    tip.style.top = `${PAD.top}px`;
  }

  const inside = (event) => Math.min(box.clientWidth - PAD.right, Math.max(PAD.left, event.clientX - box.getBoundingClientRect().left));
  box.addEventListener("pointermove", (event) => {
    const px = inside(event);
    if (state.drag) state.drag.to = px;
    state.at = axes().x.invert(px);
    draw();
  });
  box.addEventListener("pointerleave", () => { if (!state.drag) { state.at = null; draw(); } });
  box.addEventListener("pointerdown", (event) => { if (zoom && event.button === 0) { const px = inside(event); state.drag = { from: px, to: px }; box.setPointerCapture(event.pointerId); } });
  box.addEventListener("pointerup", () => {
    const drag = state.drag;
    state.drag = null;
    if (drag && Math.abs(drag.to - drag.from) > 8) {
      const { x } = axes();
      const [from, to] = [drag.from, drag.to].map((px) => Math.round(x.invert(px))).sort((a, b) => a - b);
      zoom(from, to);
    }
    draw();
  });
  box.addEventListener("dblclick", () => zoom?.(null, null));
  box.addEventListener("keydown", (event) => {
    const steps = shown()[0]?.steps ?? [];
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") { state.at = null; zoom?.(null, null); draw(); }
    if (!move || !steps.length) return;
    event.preventDefault();
    const place = state.at === null ? (move > 0 ? 0 : steps.length - 1) : nearest(steps, state.at) + move;
    state.at = steps[Math.min(steps.length - 1, Math.max(0, place))];
    draw();
  });
  const resized = new ResizeObserver(() => draw());
  resized.observe(box);
  addEventListener("bfc:theme", draw);
  return { node, set, draw, destroy() { resized.disconnect(); removeEventListener("bfc:theme", draw); } };
}

function dashed(pen, px, from, to) {
  pen.strokeStyle = css("--line-2");
  pen.lineWidth = 1;
  pen.setLineDash([4, 4]);
  pen.beginPath(); pen.moveTo(px, from); pen.lineTo(px, to); pen.stroke();
  pen.setLineDash([]);
}

/** The place of the step nearest to `at` in ascending steps; null when there are none. */
export function nearest(steps, at) {
  if (!steps.length) return null;
  let low = 0, high = steps.length - 1;
  while (high - low > 1) { const mid = (low + high) >> 1; if (steps[mid] < at) low = mid; else high = mid; }
  return at - steps[low] <= steps[high] - at ? low : high;
}

function described(title, lines) {
  const parts = lines.slice(0, 8).map((line) => {
    const known = line.values.filter((value) => value !== null);
    return known.length ? `${line.label || title} from ${number(known[0])} to ${number(known.at(-1))}` : `${line.label || title} has no points`;
  });
  return `${title}: ${parts.join("; ")}`;
}
