/**
 * What range the axes of a chart cover, and what of the data that range leaves out. Pure.
 */
import { lowerBound } from "./series.js";

/**
 * @typedef {import("./series.js").Trace} Trace
 *
 * @typedef {object} Bounds
 * @property {number} low Infinity if there is nothing.
 * @property {number} high
 */

/** Share of all buckets, on each side, that may be called outliers. */
const TAIL = 0.02;
/** Part of the range of the others by which a bucket must exceed it to be called an outlier. */
const FENCE = 0.5;

/**
 * @param {Trace[]} traces
 * @param {boolean} log Only x > 0.
 * @returns {Bounds}
 */
export function xBounds(traces, log) {
  let low = Infinity;
  let high = -Infinity;
  for (const trace of traces) {
    if (!trace.count) continue;
    const last = trace.x1[trace.count - 1];
    let first = trace.x0[0];
    if (log && !(first > 0)) {
      const index = lowerBound(trace.x1, Number.MIN_VALUE);
      if (index >= trace.count) continue;
      first = trace.x0[index] > 0 ? trace.x0[index] : trace.x1[index];
    }
    if (first < low) low = first;
    if (last > high) high = last;
  }
  return { low, high };
}

/**
 * @callback Visit
 * @param {number} low
 * @param {number} high
 * @param {number} mean
 * @returns {void}
 */

/**
 * Calls back for each bucket of a line that touches a range of x.
 * @param {Trace} trace
 * @param {import("./series.js").Band | null} band
 * @param {[number, number]} range
 * @param {Visit} visit
 */
function visitBuckets(trace, band, range, visit) {
  for (let i = lowerBound(trace.x1, range[0]); i < trace.count && trace.x0[i] <= range[1]; i++) {
    if (!(trace.n[i] > 0)) continue;
    // The values themselves count besides the band: a spike is drawn beyond it.
    const low = band && band.low[i] < trace.low[i] ? band.low[i] : trace.low[i];
    const high = band && band.high[i] > trace.high[i] ? band.high[i] : trace.high[i];
    visit(Number.isFinite(low) ? low : trace.mean[i], Number.isFinite(high) ? high : trace.mean[i], trace.mean[i]);
  }
}

/**
 * @param {{trace: Trace, band: import("./series.js").Band | null}[]} parts
 * @param {[number, number]} range
 * @param {boolean} log Only values > 0.
 * @param {boolean} outliers True: leave them out.
 * @returns {Bounds}
 */
export function yBounds(parts, range, log, outliers) {
  let low = Infinity;
  let high = -Infinity;
  /** @type {number[]} */
  const lows = [];
  /** @type {number[]} */
  const highs = [];
  for (const { trace, band } of parts) {
    visitBuckets(trace, band, range, (bottom, top, mean) => {
      if (log) {
        if (!(top > 0)) return;
        if (!(bottom > 0)) bottom = mean > 0 ? mean : top;
      }
      if (bottom < low) low = bottom;
      if (top > high) high = top;
      if (outliers) {
        lows.push(bottom);
        highs.push(top);
      }
    });
  }
  if (!outliers || lows.length < 10) return { low, high };
  const from = Float64Array.from(log ? lows.map(Math.log) : lows).sort();
  const to = Float64Array.from(log ? highs.map(Math.log) : highs).sort();
  const bottom = from[Math.ceil(TAIL * (from.length - 1))];
  const top = to[Math.floor((1 - TAIL) * (to.length - 1))];
  const room = (top - bottom) * FENCE || Math.abs(top) * 0.05 || 1;
  const back = (/** @type {number} */ value) => (log ? Math.exp(value) : value);
  return { low: Math.max(low, back(bottom - room)), high: Math.min(high, back(top + room)) };
}

/**
 * Values that a log axis cannot show. Buckets tell whether all of their values are ≤ 0 or at least one is.
 * @param {{trace: Trace, band: import("./series.js").Band | null}[]} parts
 * @param {[number, number]} range
 * @returns {{count: number, exact: boolean, shown: number}}
 */
export function notPositive(parts, range) {
  let count = 0;
  let shown = 0;
  let exact = true;
  for (const { trace } of parts) {
    for (let i = lowerBound(trace.x1, range[0]); i < trace.count && trace.x0[i] <= range[1]; i++) {
      const n = trace.n[i];
      if (!(n > 0)) continue;
      if (!(trace.high[i] > 0)) {
        count += n;
        continue;
      }
      shown += n;
      if (!(trace.low[i] > 0)) {
        count += 1;
        exact = exact && n === 2;
      }
    }
  }
  return { count, exact, shown };
}
