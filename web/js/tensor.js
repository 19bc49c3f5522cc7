/* Tensors from safetensors bytes, and pictures of them. */

import { send } from "./api.js";
import { fill, h } from "./dom.js";
import { number } from "./format.js";
import { chart } from "./chart.js";
import { trouble } from "./parts.js";
import { hue, theme } from "./palette.js";

export const MOST_VALUES = 200_000; // a tensor is asked for by rows, and never more than this at once
const ARRAYS = { F64: Float64Array, F32: Float32Array, I32: Int32Array, I16: Int16Array, I8: Int8Array, U8: Uint8Array, BOOL: Uint8Array };

/** The rows of one tensor that can be shown: {dtype, shape, values, whole}. */
export async function fetchTensor(snapshot, entry, signal) {
  const row = entry.shape.slice(1).reduce((product, size) => product * size, 1);
  const rows = Math.max(1, Math.min(entry.shape[0] ?? 1, Math.floor(MOST_VALUES / row)));
  const params = entry.shape.length && rows < entry.shape[0] ? { rows: `0:${rows}` } : {};
  const path = `/v1/snapshots/${encodeURIComponent(snapshot)}/tensors/${entry.name.split("/").map(encodeURIComponent).join("/")}`;
  const reply = await send("GET", path, { params, accept: "application/vnd.safetensors", signal });
  const [tensor] = parse(await reply.arrayBuffer());
  return { ...tensor, whole: rows >= (entry.shape[0] ?? 1) };
}

/** All tensors of a safetensors file. */
export function parse(buffer) {
  const size = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, size)));
  return Object.entries(header).filter(([name]) => name !== "__metadata__").map(([name, { dtype, shape, data_offsets: [from, to] }]) => (
    { name, dtype, shape, values: decode(dtype, buffer.slice(8 + size + from, 8 + size + to)) }));
}

function decode(dtype, bytes) {
  if (dtype === "BF16") return Float32Array.from(new Uint16Array(bytes), (half) => wide(half << 16));
  if (dtype === "F16") return Float32Array.from(new Uint16Array(bytes), half16);
  if (dtype === "I64") return Float64Array.from(new BigInt64Array(bytes), Number);
  if (!(dtype in ARRAYS)) throw new Error(`${dtype} cannot be shown`);
  return new ARRAYS[dtype](bytes);
}

const bits = new DataView(new ArrayBuffer(4));
function wide(pattern) { bits.setInt32(0, pattern); return bits.getFloat32(0); }
function half16(half) {
  const sign = half & 0x8000 ? -1 : 1, exponent = (half >> 10) & 31, part = half & 1023;
  if (exponent === 0) return sign * part * 2 ** -24;
  return exponent === 31 ? (part ? NaN : sign * Infinity) : sign * (1 + part / 1024) * 2 ** (exponent - 15);
}

/** A tensor as its shape suggests: pictures, a heat map, a curve, or a number. */
export function picture(tensor) {
  const { shape, values } = tensor;
  const told = h("p", { class: "note" }, summary(values, tensor.whole));
  if (values.length <= 1) return h("div", null, h("p", { class: "num" }, number(values[0])));
  if (shape.length === 4 && (shape[1] === 1 || shape[1] === 3)) return h("div", null, tiles(tensor, shape[1], false), told);
  if (shape.length === 4 && (shape[3] === 1 || shape[3] === 3)) return h("div", null, tiles(tensor, shape[3], true), told);
  if (shape.length === 1) return h("div", null, curve(values), told);
  return h("div", null, heat(values, shape[0], values.length / shape[0]), told);
}

function summary(values, whole) {
  let low = Infinity, high = -Infinity, sum = 0, squares = 0;
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); sum += value; squares += value * value; }
  const mean = sum / values.length;
  return `${number(low)} … ${number(high)}, mean ${number(mean)}, deviation ${number(Math.sqrt(Math.max(0, squares / values.length - mean * mean)))}${whole ? "" : ", first rows only"}`;
}

function curve(values) {
  const plot = chart({ title: "values", height: 130 });
  plot.set([{ label: "", color: hue(0), steps: Array.from(values, (_, place) => place), values: Array.from(values) }]);
  return plot.node;
}

/** Rows × columns; blue below zero, red above, as dark as large. */
function heat(values, rows, columns) {
  const canvas = h("canvas", { width: columns, height: rows, role: "img", "aria-label": `heat map of ${rows} by ${columns}` });
  const most = values.reduce((size, value) => Math.max(size, Math.abs(value)), 0) || 1;
  const image = new ImageData(columns, rows);
  const ground = theme() === "dark" ? [26, 29, 34] : [255, 255, 255];
  values.forEach((value, place) => paint(image.data, place, value / most, ground));
  canvas.getContext("2d").putImageData(image, 0, 0);
  if (columns > 6 * rows) canvas.style.height = "60px";
  return canvas;
}

function paint(data, place, value, ground) {
  const pole = value < 0 ? [33, 102, 172] : [178, 50, 43], part = Math.sqrt(Math.min(1, Math.abs(value)));
  for (let c = 0; c < 3; c += 1) data[4 * place + c] = ground[c] + part * (pole[c] - ground[c]);
  data[4 * place + 3] = 255;
}

/** Pictures beside each other, each stretched to its own range unless they are bytes. */
function tiles({ shape, values, dtype }, channels, last) {
  const [count] = shape, [tall, wide_] = last ? [shape[1], shape[2]] : [shape[2], shape[3]];
  const shown = Math.min(count, 64), across = Math.min(shown, 8), down = Math.ceil(shown / across), gap = 1;
  const canvas = h("canvas", { width: across * (wide_ + gap) - gap, height: down * (tall + gap) - gap, role: "img", "aria-label": `${shown} pictures of ${tall} by ${wide_}` });
  const pen = canvas.getContext("2d"), size = channels * tall * wide_;
  for (let one = 0; one < shown; one += 1) {
    const pixels = values.slice(one * size, (one + 1) * size), image = new ImageData(wide_, tall);
    let low = 0, high = 255;
    if (dtype !== "U8") { low = pixels.reduce((a, b) => Math.min(a, b), Infinity); high = pixels.reduce((a, b) => Math.max(a, b), -Infinity); }
    for (let place = 0; place < tall * wide_; place += 1) {
      for (let c = 0; c < 3; c += 1) {
        const channel = channels === 3 ? c : 0;
        const value = last ? pixels[place * channels + channel] : pixels[channel * tall * wide_ + place];
        image.data[4 * place + c] = (255 * (value - low)) / (high - low || 1);
      }
      image.data[4 * place + 3] = 255;
    }
    pen.putImageData(image, (one % across) * (wide_ + gap), Math.floor(one / across) * (tall + gap));
  }
  return canvas;
}

/** A card that fetches and shows a tensor when it comes into sight. */
export function tensorCard(snapshot, entry, signal, title) {
  const place = h("div", { class: "note" }, "…");
  const card = h("section", { class: "tensor", "aria-label": entry.name }, h("h3", null, h("span", null, title ?? entry.name), h("span", { class: "note mono" }, `${entry.dtype} ${entry.shape.join("×")}`)), place);
  const seen = new IntersectionObserver(async (entries) => {
    if (!entries.some((one) => one.isIntersecting)) return;
    seen.disconnect();
    try {
      const tensor = await fetchTensor(snapshot, entry, signal);
      if (!signal.aborted) fill(place, picture(tensor));
    } catch (fault) { if (!signal.aborted) fill(place, trouble(fault)); }
  }, { rootMargin: "200px" });
  seen.observe(card);
  signal.addEventListener("abort", () => seen.disconnect());
  return card;
}
