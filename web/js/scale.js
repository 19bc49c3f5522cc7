/* Axes: from values to pixels and back, with ticks that people would choose. Pure. */

/** `domain` [low, high], `range` [from, to]; logarithmic when `log`. */
export function scale(domain, range, log = false) {
  const f = log ? Math.log10 : (value) => value;
  const back = log ? (value) => 10 ** value : (value) => value;
  const [low, high] = domain.map(f);
  const span = high - low || 1;
  const at = (value) => range[0] + ((f(value) - low) / span) * (range[1] - range[0]);
  at.invert = (pixel) => back(low + ((pixel - range[0]) / (range[1] - range[0])) * span);
  at.ticks = (most) => (log ? logTicks(low, high, most) : linearTicks(low, high, most));
  return at;
}

export function linearTicks(low, high, most) {
  const rough = (high - low) / Math.max(1, most);
  const size = 10 ** Math.floor(Math.log10(rough || 1));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((candidate) => candidate >= rough * 0.999);
  const ticks = [];
  const first = Math.ceil(low / step - 1e-9);
  for (let place = first; place <= first + 2 * most && place * step <= high + step * 1e-9; place += 1) ticks.push(Number((place * step).toPrecision(12)));
  return ticks;
}

export function logTicks(low, high, most) {
  const decades = Math.floor(high) - Math.ceil(low) + 1;
  if (decades < 2) {
    const ticks = [];
    for (let power = Math.floor(low); power <= Math.ceil(high); power += 1) {
      for (const factor of [1, 2, 5]) {
        const value = factor * 10 ** power;
        if (Math.log10(value) >= low - 1e-9 && Math.log10(value) <= high + 1e-9) ticks.push(value);
      }
    }
    return ticks;
  }
  const every = Math.max(1, Math.ceil(decades / most));
  const ticks = [];
  for (let power = Math.ceil(low); power <= high + 1e-9; power += 1) if (power % every === 0) ticks.push(10 ** power);
  return ticks;
}

/** A domain around values: padded, and never empty. */
export function around(values, log) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value === null || !Number.isFinite(value) || (log && value <= 0)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return log ? [0.1, 1] : [0, 1];
  if (log) return high / low < 1 + 1e-9 ? [low / 2, high * 2] : [low * 0.8, high * 1.25];
  const size = Math.max(Math.abs(low), Math.abs(high));
  // Rounding noise around a constant is a constant; ticks between its last bits would never end.
  const pad = (high - low > 1e-9 * size ? high - low : size || 1) * 0.06;
  return [low >= 0 && low - pad < 0 ? 0 : low - pad, high + pad];
}

/** True where a logarithmic axis tells more: positive values over more than a factor of 20. */
export function wantsLog(values) {
  let low = Infinity, high = 0;
  for (const value of values) {
    if (value === null || !Number.isFinite(value)) continue;
    if (value <= 0) return false;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return high / low > 20;
}
