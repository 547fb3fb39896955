/**
 * Smoothing in units of x over bucket means weighted by the number of values, so that neither zoom, thinning nor logging
 * density change a curve. `tracker/reading/smoothing.py` has the same formulas. Pure.
 *
 * - `ema`, half-life h: a value at distance d before x weighs 0.5^(d / h); values after x do not count. Of a bucket's own
 *   n values, (n + 1) / 2 lie at or before its middle, so they are what counts there.
 * - `gaussian`, half width h: a value at distance d on either side weighs exp(-(d / s)² / 2) with s = h / 1.1774.
 * - `mean`, window h: the values in [x - h / 2, x + h / 2]; of a bucket that is partly inside, that part.
 *
 * @typedef {"ema" | "gaussian" | "mean"} SmoothKind
 *
 * @typedef {object} Weighted What is smoothed.
 * @property {import("./series.js").Numbers} x0
 * @property {import("./series.js").Numbers} x1
 * @property {import("./series.js").Numbers} mean
 * @property {import("./series.js").Numbers} n
 */

/** Half width at half maximum of a Gaussian, in standard deviations: sqrt(2 ln 2). */
export const HALF_WIDTH = 1.1774100225154747;
/** Standard deviations after which a Gaussian's weight is left out. */
const REACH = 4;

/**
 * Smoothed means, one per bucket; NaN where no value counts.
 * @param {Weighted} data
 * @param {SmoothKind} kind
 * @param {number} width Half-life, half width or window, in units of x; 0 leaves the means as they are.
 * @returns {Float64Array}
 */
export function smooth(data, kind, width) {
  if (!(width > 0)) return Float64Array.from(data.mean);
  if (kind === "gaussian") return gaussian(data, width);
  if (kind === "mean") return runningMean(data, width);
  return ema(data, width);
}

/**
 * @param {Weighted} data
 * @param {number} halfLife
 */
function ema(data, halfLife) {
  const { x0, x1, mean, n } = data;
  const result = new Float64Array(mean.length);
  let sum = 0;
  let weight = 0;
  let at = x0.length ? x0[0] : 0;
  for (let i = 0; i < mean.length; i++) {
    const x = x0[i] / 2 + x1[i] / 2;
    const decay = 0.5 ** ((x - at) / halfLife);
    sum *= decay;
    weight *= decay;
    at = x;
    const own = n[i];
    if (own > 0 && Number.isFinite(mean[i])) {
      const before = (own + 1) / 2;
      result[i] = (sum + before * mean[i]) / (weight + before);
      sum += own * mean[i];
      weight += own;
    } else {
      result[i] = weight > 0 ? sum / weight : NaN;
    }
  }
  return result;
}

/**
 * @param {Weighted} data
 * @param {number} width
 */
function gaussian(data, width) {
  const { x0, x1, mean, n } = data;
  const sigma = width / HALF_WIDTH;
  const table = new Float64Array(1025);
  for (let i = 0; i < table.length; i++) table[i] = Math.exp(-(((i / 1024) * REACH) ** 2) / 2);
  const count = mean.length;
  const x = new Float64Array(count);
  for (let i = 0; i < count; i++) x[i] = x0[i] / 2 + x1[i] / 2;
  const result = new Float64Array(count);
  let first = 0;
  for (let i = 0; i < count; i++) {
    while (x[i] - x[first] > REACH * sigma) first++;
    let sum = 0;
    let weight = 0;
    for (let j = first; j < count; j++) {
      const distance = Math.abs(x[j] - x[i]) / sigma;
      if (distance > REACH) break;
      if (!(n[j] > 0) || !Number.isFinite(mean[j])) continue;
      const place = (distance / REACH) * 1024;
      const cell = Math.min(1023, Math.floor(place));
      const factor = n[j] * (table[cell] + (table[cell + 1] - table[cell]) * (place - cell));
      sum += factor * mean[j];
      weight += factor;
    }
    result[i] = weight > 0 ? sum / weight : NaN;
  }
  return result;
}

/**
 * @param {Weighted} data
 * @param {number} width
 */
function runningMean(data, width) {
  const { x0, x1, mean, n } = data;
  const count = mean.length;
  const result = new Float64Array(count);
  let first = 0;
  for (let i = 0; i < count; i++) {
    const x = x0[i] / 2 + x1[i] / 2;
    const left = x - width / 2;
    const right = x + width / 2;
    while (first < count && x1[first] < left) first++;
    let sum = 0;
    let weight = 0;
    for (let j = first; j < count && x0[j] <= right; j++) {
      if (!(n[j] > 0) || !Number.isFinite(mean[j])) continue;
      const span = x1[j] - x0[j];
      const inside = span > 0 ? (Math.min(right, x1[j]) - Math.max(left, x0[j])) / span : 1;
      const own = n[j] * Math.max(inside, 0);
      sum += own * mean[j];
      weight += own;
    }
    result[i] = weight > 0 ? sum / weight : NaN;
  }
  return result;
}
