/* Colours of lines: a ramp where order means something (layers), distinct hues where it does not (jobs). */

const RAMP = {
  light: [[13, 92, 125], [31, 133, 112], [146, 138, 30], [205, 112, 34], [176, 42, 72]],
  dark: [[110, 184, 224], [94, 204, 170], [216, 206, 98], [245, 166, 96], [242, 124, 148]],
};
const HUES = {
  light: ["#0d5c7d", "#c25a10", "#1d7a4c", "#9b2c5e", "#5b4bb0", "#8a6a00", "#4d6b7a", "#a3372b"],
  dark: ["#7cc4e0", "#f0a35e", "#7fd6a2", "#ee8fb6", "#b5a7f5", "#dcc25a", "#a9c2cd", "#f2897e"],
};

export const theme = () => document.documentElement.dataset.theme ?? "light";

/** The colour of `place` among `count` that are ordered. */
export function ramp(place, count) {
  const stops = RAMP[theme()];
  const at = count <= 1 ? 0 : (place / (count - 1)) * (stops.length - 1);
  const low = Math.min(stops.length - 2, Math.floor(at)), part = at - low;
  const mixed = stops[low].map((channel, c) => Math.round(channel + part * (stops[low + 1][c] - channel)));
  return `rgb(${mixed.join(" ")})`;
}

export const hue = (place) => HUES[theme()][place % HUES.light.length];
export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
