/* Numbers, times and words as people read them. */

const whole = new Intl.NumberFormat("en");

/** Four significant digits; powers of ten where a number is tiny or huge. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return whole.format(value).replaceAll(",", "\u2009");
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return power(value);
  return String(Number(value.toPrecision(4)));
}

const RAISED = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
export function power(value) {
  const [head, tail] = value.toExponential(1).split("e");
  const raised = [...String(Number(tail))].map((digit) => RAISED[digit]).join("");
  const short = head.replace(/\.0$/, "");
  return short === "1" ? `10${raised}` : `${short}·10${raised}`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = value, unit = 0;
  while (size >= 1024 && unit < units.length - 1) { size /= 1024; unit += 1; }
  return `${size < 10 && unit > 0 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

/** Seconds in one or two units. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 100) return `${Math.round(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.round((s % 86400) / 3600)} h`;
}

/** Seconds in one unit, for narrow columns. */
export function short(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 100) return duration(seconds);
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 129600 ? `${(seconds / 3600).toFixed(seconds < 36000 ? 1 : 0)} h` : `${Math.round(seconds / 86400)} d`;
}

export function ago(time) {
  if (!time) return "–";
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  if (seconds < 5) return "just now";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return new Date(time).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
}

/** The full moment, for titles. */
export const moment = (time) => (time ? new Date(time).toLocaleString("en-GB", { timeZoneName: "short" }) : "");

export function took(job, told = duration) {
  if (!job.started_at) return "–";
  const end = job.finished_at ? Date.parse(job.finished_at) : Date.now();
  return told((end - Date.parse(job.started_at)) / 1000);
}

/** `feature_error` → `feature error`. */
export const words = (name) => String(name).replaceAll("_", " ");

export const plural = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;
