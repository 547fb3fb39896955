/**
 * A group of runs as one line with a band: on a common grid, each run counts the same, and only where it has values; nothing
 * is interpolated. `tracker/reading/aggregation.py` has the same formulas and explains them. Pure.
 */
import { traceOf } from "./series.js";
import { smooth } from "./smooth.js";

/**
 * @typedef {import("./series.js").Series} Series
 * @typedef {import("./series.js").Line} Line
 *
 * @typedef {object} Aggregate Arrays with an entry per interval that has values, in ascending x.
 * @property {Float64Array} x
 * @property {Float64Array} x0
 * @property {Float64Array} x1
 * @property {Float64Array} mean
 * @property {Float64Array} std NaN where there is one run; so are sem and ci95.
 * @property {Float64Array} sem
 * @property {Float64Array} ci95 Half width of the 95 % confidence interval of the mean.
 * @property {Float64Array} low Smallest value of any run.
 * @property {Float64Array} high
 * @property {Uint32Array} n Number of runs.
 * @property {Float64Array} bad Values that are not finite, of all runs.
 * @property {Float64Array | null} smooth Mean of the runs' smoothed curves, where smoothing was asked for.
 *
 * @typedef {object} Grid
 * @property {number} low
 * @property {number} high
 * @property {number} count
 * @property {boolean} [logX]
 *
 * @typedef {object} GroupOptions
 * @property {Grid} grid
 * @property {"minmax" | "std" | "sem" | "ci95" | "none"} band
 * @property {number} [smooth] Smooths each run before the mean and the band are taken.
 * @property {import("./smooth.js").SmoothKind} [smoothKind]
 */

const T = [12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.306, 2.2622, 2.2281, 2.201, 2.1788];
const Z = 1.959964;
/** Largest share of intervals in which only some of the runs that cover it have values, though all of them go on. */
const MOST_UNEVEN = 0.05;

/**
 * The 0.975 quantile of Student's t distribution.
 * @param {number} freedom Degrees of freedom, at least 1.
 * @returns {number}
 */
export function tQuantile(freedom) {
  if (freedom <= T.length) return T[freedom - 1];
  return (
    Z + (Z ** 3 + Z) / (4 * freedom) + (5 * Z ** 5 + 16 * Z ** 3 + 3 * Z) / (96 * freedom ** 2) +
    (3 * Z ** 7 + 19 * Z ** 5 + 17 * Z ** 3 - 15 * Z) / (384 * freedom ** 3)
  );
}

/**
 * @param {Grid} grid
 * @returns {(x: number) => number} Interval of an x.
 */
function intervalOf({ low, high, count, logX }) {
  const from = logX ? Math.log(low) : low;
  const span = (logX ? Math.log(high) : high) - from || 1;
  return (x) => Math.min(count - 1, Math.max(0, Math.floor((((logX ? Math.log(x) : x) - from) / span) * count)));
}

/**
 * The grid with as many intervals, `count` halved as often as needed, as let nearly all runs have values in each interval that
 * they cover: else runs that were logged at different steps would make the mean jump.
 * @param {Series[][]} runs
 * @param {Grid} grid
 * @returns {Grid}
 */
export function evenGrid(runs, grid) {
  let best = grid;
  for (let count = grid.count; count >= 1; count = count >> 1) {
    best = { ...grid, count };
    const place = intervalOf(best);
    const present = new Uint32Array(count);
    const covered = new Uint32Array(count);
    for (const run of runs) {
      const has = new Uint8Array(count);
      let first = count;
      let last = -1;
      for (const series of run) {
        const { x, n, count: size } = traceOf(series);
        for (let i = 0; i < size; i++) {
          if (!(n[i] > 0) || !inside(x[i], grid)) continue;
          const k = place(x[i]);
          has[k] = 1;
          if (k < first) first = k;
          if (k > last) last = k;
        }
      }
      for (let k = first; k <= last; k++) {
        covered[k]++;
        present[k] += has[k];
      }
    }
    let some = 0;
    let uneven = 0;
    for (let k = 0; k < count; k++) {
      if (!present[k]) continue;
      some++;
      if (present[k] < covered[k]) uneven++;
    }
    if (uneven <= some * MOST_UNEVEN) break;
  }
  return best;
}

/**
 * @param {number} x
 * @param {Grid} grid
 */
function inside(x, { low, high, logX }) {
  return x >= low && x <= high && (!logX || x > 0);
}

/**
 * @typedef {object} Cell A run in one interval.
 * @property {number} x
 * @property {number} x0
 * @property {number} x1
 * @property {number} mean
 * @property {number} smooth
 * @property {number} low
 * @property {number} high
 * @property {number} n
 * @property {number} bad
 */

/**
 * @param {Series[][]} runs The series of each run; several writers count as one run.
 * @param {Grid} grid
 * @param {(series: Series) => import("./series.js").Numbers} [smoothed] Smoothed means of a series.
 * @returns {Aggregate}
 */
export function aggregate(runs, grid, smoothed) {
  const place = intervalOf(grid);
  /** @type {Map<number, Cell[]>} */
  const intervals = new Map();
  for (const run of runs) {
    /** @type {Map<number, Cell>} */
    const cells = new Map();
    for (const series of run) addSeries(cells, series, grid, place, smoothed?.(series) ?? null);
    for (const [k, cell] of cells) {
      const present = intervals.get(k);
      if (present) present.push(cell);
      else intervals.set(k, [cell]);
    }
  }
  const order = [...intervals.keys()].sort((a, b) => a - b);
  const column = () => new Float64Array(order.length);
  /** @type {Aggregate} */
  const result = {
    x: column(), x0: column(), x1: column(), mean: column(), std: column(), sem: column(), ci95: column(), low: column(), high: column(),
    n: new Uint32Array(order.length), bad: column(), smooth: smoothed ? column() : null,
  };
  order.forEach((k, i) => addRow(result, i, /** @type {Cell[]} */ (intervals.get(k)), Boolean(smoothed)));
  return result;
}

/**
 * @param {Map<number, Cell>} cells
 * @param {Series} series
 * @param {Grid} grid
 * @param {(x: number) => number} place
 * @param {import("./series.js").Numbers | null} smoothed
 */
function addSeries(cells, series, grid, place, smoothed) {
  const trace = traceOf(series);
  for (let i = 0; i < trace.count; i++) {
    if (!inside(trace.x[i], grid)) continue;
    const k = place(trace.x[i]);
    let cell = cells.get(k);
    if (!cell) {
      cell = { x: 0, x0: trace.x0[i], x1: trace.x1[i], mean: 0, smooth: 0, low: Infinity, high: -Infinity, n: 0, bad: 0 };
      cells.set(k, cell);
    }
    cell.x1 = Math.max(cell.x1, trace.x1[i]);
    cell.x0 = Math.min(cell.x0, trace.x0[i]);
    cell.bad += trace.bad[i];
    const n = trace.n[i];
    if (!(n > 0)) continue;
    cell.n += n;
    const share = n / cell.n;
    cell.x += (trace.x[i] - cell.x) * share;
    cell.mean += (trace.mean[i] - cell.mean) * share;
    if (smoothed) cell.smooth += (smoothed[i] - cell.smooth) * share;
    cell.low = Math.min(cell.low, trace.low[i]);
    cell.high = Math.max(cell.high, trace.high[i]);
  }
}

/**
 * @param {Aggregate} result
 * @param {number} i
 * @param {Cell[]} all
 * @param {boolean} smoothed Standard deviation and interval are those of the smoothed curves.
 */
function addRow(result, i, all, smoothed) {
  const cells = all.filter((cell) => cell.n > 0);
  const n = cells.length;
  const average = (/** @type {(cell: Cell) => number} */ of) => cells.reduce((sum, cell) => sum + of(cell) / n, 0);
  result.x0[i] = all.reduce((least, cell) => Math.min(least, cell.x0), Infinity);
  result.x1[i] = all.reduce((most, cell) => Math.max(most, cell.x1), -Infinity);
  result.bad[i] = all.reduce((sum, cell) => sum + cell.bad, 0);
  result.n[i] = n;
  const of = smoothed ? (/** @type {Cell} */ cell) => cell.smooth : (/** @type {Cell} */ cell) => cell.mean;
  const middle = n ? average(of) : NaN;
  const std = n > 1 ? Math.sqrt(cells.reduce((sum, cell) => sum + (of(cell) - middle) ** 2, 0) / (n - 1)) : NaN;
  result.x[i] = n ? average((cell) => cell.x) : result.x0[i] / 2 + result.x1[i] / 2;
  result.mean[i] = n ? average((cell) => cell.mean) : NaN;
  if (result.smooth) result.smooth[i] = middle;
  result.std[i] = std;
  result.sem[i] = std / Math.sqrt(n);
  result.ci95[i] = n > 1 ? tQuantile(n - 1) * result.sem[i] : NaN;
  result.low[i] = n ? Math.min(...cells.map((cell) => cell.low)) : NaN;
  result.high[i] = n ? Math.max(...cells.map((cell) => cell.high)) : NaN;
}

/**
 * A line for a group of runs.
 * @param {Pick<Line, "id" | "run" | "label" | "color" | "dash" | "raised" | "names">} line
 * @param {Series[][]} runs The series of each run.
 * @param {GroupOptions} options
 * @returns {Line}
 */
export function groupLine(line, runs, { grid, band, smooth: width = 0, smoothKind = "ema" }) {
  const used = evenGrid(runs, grid);
  const smoothed = width > 0 ? (/** @type {Series} */ series) => smooth(traceOf(series), smoothKind, width) : undefined;
  const sum = aggregate(runs, used, smoothed);
  const first = runs[0]?.[0];
  /** @type {Series} */
  const series = {
    key: first?.key ?? "", run: line.run, label: null, total: runs.flat().reduce((total, one) => total + one.total, 0), raw: false,
    x0: sum.x0, x1: sum.x1, low: sum.low, high: sum.high, mean: sum.mean, last: sum.mean, n: sum.n, bad: sum.bad,
  };
  const center = sum.smooth ?? sum.mean;
  const half = band === "std" ? sum.std : band === "sem" ? sum.sem : band === "ci95" ? sum.ci95 : null;
  const edge = (/** @type {number} */ sign) => center.map((value, i) => (half && Number.isFinite(half[i]) ? value + sign * half[i] : value));
  const shown = band === "none" ? null : half ? { low: edge(-1), high: edge(1) } : { low: sum.low, high: sum.high };
  return { ...line, series, smoothed: sum.smooth, band: shown, runs: sum.n, members: runs.length };
}
