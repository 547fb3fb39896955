/**
 * Smoothing of a line in units of x, so that the result depends on the curve and the width only, not on how densely it was
 * logged, thinned or bucketed. `tracker/reading/smoothing.py` has the same formulas and explains them. Pure.
 *
 * Neighbouring points are merged into cells of a sixteenth of the width, by their number of values; the curve is linear
 * between the cells; the kernel is integrated over the curve: `ema` 0.5^(d / h) before x, `gaussian` with half width h at
 * half height on both sides, `mean` over [x - h / 2, x + h / 2].
 *
 * @typedef {"ema" | "gaussian" | "mean"} SmoothKind
 *
 * @typedef {object} Weighted What is smoothed.
 * @property {import("./series.js").Numbers} x Ascending.
 * @property {import("./series.js").Numbers} mean
 * @property {import("./series.js").Numbers} n Finite values in each.
 */

/** Number of cells in a width. */
const CELLS_PER_WIDTH = 16;
/** Half width at half height of a Gaussian, in units of sigma. */
const HALF_HEIGHT = 1.1774;
/** Distance at which the Gaussian's weight is taken as 0, in units of sigma. */
const REACH = 4;

/**
 * Smoothed values, one per entry; NaN where it has no finite value.
 * @param {Weighted} data
 * @param {SmoothKind} kind
 * @param {number} width Half-life, half width or window, in units of x; 0 leaves the means as they are.
 * @returns {Float64Array}
 */
export function smooth(data, kind, width) {
  const count = data.x.length;
  const result = new Float64Array(count).fill(NaN);
  if (!(width > 0)) {
    for (let i = 0; i < count; i++) if (data.n[i] > 0) result[i] = data.mean[i];
    return result;
  }
  const { at, values } = cellsOf(data, width / CELLS_PER_WIDTH);
  if (!at.length) return result;
  const kernel = { ema, gaussian, mean: runningMean }[kind];
  const smoothed = at.length > 1 ? kernel(at, values, width) : values;
  let right = 0;
  for (let i = 0; i < count; i++) {
    if (!(data.n[i] > 0)) continue;
    while (right < at.length && at[right] <= data.x[i]) right++;
    result[i] = interpolated(at, smoothed, right, data.x[i]);
  }
  return result;
}

/**
 * @param {Weighted} data
 * @param {number} width
 * @returns {{at: Float64Array, values: Float64Array}}
 */
function cellsOf({ x, mean, n }, width) {
  const at = new Float64Array(x.length);
  const values = new Float64Array(x.length);
  let last = x.length - 1;
  while (last >= 0 && !(n[last] > 0)) last--;
  let filled = -1;
  let end = -Infinity;
  let total = 0;
  for (let i = 0; i <= last; i++) {
    const own = n[i];
    if (!(own > 0)) continue;
    if (filled >= 0 && (x[i] === at[filled] || (x[i] < end && x[i] !== x[last]))) {
      total += own;
      at[filled] += (x[i] - at[filled]) * (own / total);
      values[filled] += (mean[i] - values[filled]) * (own / total);
    } else {
      end = filled >= 0 ? x[i] + width : x[i];
      filled++;
      at[filled] = x[i];
      values[filled] = mean[i];
      total = own;
    }
  }
  return { at: at.subarray(0, filled + 1), values: values.subarray(0, filled + 1) };
}

/**
 * @param {Float64Array} at
 * @param {Float64Array} values
 * @param {number} right Index of the first place beyond x.
 * @param {number} x
 */
function interpolated(at, values, right, x) {
  if (right === 0) return values[0];
  if (right === at.length) return values[right - 1];
  const share = (x - at[right - 1]) / (at[right] - at[right - 1]);
  return values[right - 1] * (1 - share) + values[right] * share;
}

/**
 * @param {Float64Array} at
 * @param {Float64Array} values
 * @param {number} halfLife
 */
function ema(at, values, halfLife) {
  const tau = halfLife / Math.LN2;
  const result = new Float64Array(at.length);
  result[0] = values[0];
  let weighted = 0;
  let weight = 0;
  for (let i = 1; i < at.length; i++) {
    const distance = (at[i] - at[i - 1]) / tau;
    const fresh = -Math.expm1(-distance);
    const old = 1 - fresh;
    const share = fresh / distance;
    weighted = old * weighted + (share - old) * values[i - 1] + (1 - share) * values[i];
    weight = old * weight + fresh;
    result[i] = weighted / weight;
  }
  return result;
}

/**
 * @param {Float64Array} at
 * @param {Float64Array} values
 * @param {number} halfWidth
 */
function gaussian(at, values, halfWidth) {
  const sigma = halfWidth / HALF_HEIGHT;
  const last = at.length - 1;
  const result = new Float64Array(at.length);
  let first = 0;
  for (let i = 0; i <= last; i++) {
    while (at[first] < at[i] - REACH * sigma) first++;
    let sum = 0;
    let weights = 0;
    for (let j = first; j <= last && at[j] <= at[i] + REACH * sigma; j++) {
      const length = (at[Math.min(j + 1, last)] - at[Math.max(j - 1, 0)]) / 2;
      const weight = Math.exp(-(((at[j] - at[i]) / sigma) ** 2) / 2) * length;
      sum += weight * values[j];
      weights += weight;
    }
    result[i] = sum / weights;
  }
  return result;
}

/**
 * @param {Float64Array} at
 * @param {Float64Array} values
 * @param {number} window
 */
function runningMean(at, values, window) {
  const last = at.length - 1;
  const integral = new Float64Array(at.length);
  for (let i = 1; i <= last; i++) integral[i] = integral[i - 1] + ((at[i] - at[i - 1]) * (values[i] + values[i - 1])) / 2;
  /** @type {(x: number, from: number) => [number, number]} */
  const until = (x, from) => {
    let i = from;
    while (i < last && at[i] <= x) i++;
    return [integral[i - 1] + ((x - at[i - 1]) * (values[i - 1] + interpolated(at, values, at[i] <= x ? i + 1 : i, x))) / 2, i];
  };
  const result = new Float64Array(at.length);
  let left = 1;
  let right = 1;
  for (let i = 0; i <= last; i++) {
    const low = Math.max(at[0], at[i] - window / 2);
    const high = Math.min(at[last], at[i] + window / 2);
    let below;
    let above;
    [below, left] = until(low, left);
    [above, right] = until(high, right);
    result[i] = (above - below) / (high - low);
  }
  return result;
}
