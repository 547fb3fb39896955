/**
 * Numbers of a heatmap of histograms: ranges, densities, round values. Pure functions.
 */

/**
 * @typedef {object} Histograms the answer of `GET runs/REF/histograms`
 * @property {number[]} steps
 * @property {number[]} last_steps
 * @property {number[]} samples
 * @property {number[]} left_out
 * @property {number[][]} edges
 * @property {number[][]} counts
 * @property {number} total
 */

/**
 * The range of values to show: that of the bins that have counts.
 * @param {Histograms} data
 * @returns {[number, number]}
 */
export function valueRange(data) {
  let low = Infinity;
  let high = -Infinity;
  data.counts.forEach((counts, column) => {
    const edges = /** @type {number[]} */ (data.edges[column]);
    counts.forEach((count, bin) => {
      if (!(count > 0)) return;
      low = Math.min(low, /** @type {number} */ (edges[bin]));
      high = Math.max(high, /** @type {number} */ (edges[bin + 1]));
    });
  });
  if (!(low <= high)) return [0, 1];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

/**
 * The density of each bin as a share of the densest one of its column: counts by width, so that wide bins do not look full.
 * @param {number[]} counts
 * @param {number[]} edges
 * @returns {number[]} 0 to 1
 */
export function densities(counts, edges) {
  const least = Math.max(...edges.map((edge, at) => (at ? edge - /** @type {number} */ (edges[at - 1]) : 0))) * 1e-9;
  const raw = counts.map((count, bin) => count / Math.max(/** @type {number} */ (edges[bin + 1]) - /** @type {number} */ (edges[bin]), least || 1));
  const most = Math.max(...raw, 0);
  return raw.map((value) => (most > 0 ? value / most : 0));
}

/**
 * The column at a place between 0 and 1 of the width.
 * @param {Histograms} data
 * @param {number} share
 * @returns {number} index
 */
export function columnAt(data, share) {
  return Math.max(0, Math.min(data.steps.length - 1, Math.floor(share * data.steps.length)));
}

/**
 * About `most` round values in a range.
 * @param {number} low
 * @param {number} high
 * @param {number} most
 * @returns {{values: number[], step: number}}
 */
export function roundValues(low, high, most) {
  const span = high - low;
  if (!(span > 0) || !Number.isFinite(span)) return { values: [low], step: 1 };
  const power = 10 ** Math.floor(Math.log10(span / most));
  const step = power * (/** @type {number} */ ([1, 2, 5, 10].find((factor) => span / (factor * power) <= most) ?? 10));
  const values = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9 && values.length < 100; at += 1) values.push(at * step + 0);
  return { values, step };
}
