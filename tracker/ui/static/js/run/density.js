/**
 * A heatmap of histograms: ranges, densities, its cells. Pure but for the canvas that is handed in.
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
 * Fill the cells of a heatmap.
 * @param {CanvasRenderingContext2D} context its fill is used, at different opacities
 * @param {Histograms} data
 * @param {{left: number, right: number, top: number, bottom: number}} plot in CSS pixels
 * @param {number} ratio device pixels per CSS pixel
 * @returns {{y: (value: number) => number, wide: number, low: number, high: number}} where values lie, and the width of a column
 */
export function fillCells(context, data, plot, ratio) {
  const [low, high] = valueRange(data);
  const y = (/** @type {number} */ value) => plot.bottom - ((value - low) / (high - low)) * (plot.bottom - plot.top);
  const wide = (plot.right - plot.left) / Math.max(1, data.steps.length);
  const snap = (/** @type {number} */ x) => Math.round(x * ratio) / ratio;
  data.steps.forEach((_, column) => {
    const edges = /** @type {number[]} */ (data.edges[column]);
    const x = snap(plot.left + column * wide);
    const next = snap(plot.left + (column + 1) * wide);
    densities(/** @type {number[]} */ (data.counts[column]), edges).forEach((share, bin) => {
      if (!share) return;
      const top = y(/** @type {number} */ (edges[bin + 1]));
      context.globalAlpha = 0.08 + 0.92 * Math.sqrt(share);
      context.fillRect(x, top, Math.max(1 / ratio, next - x), Math.max(1 / ratio, y(/** @type {number} */ (edges[bin])) - top));
    });
  });
  context.globalAlpha = 1;
  return { y, wide, low, high };
}
