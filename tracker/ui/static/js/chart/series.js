/**
 * The data a chart takes, and the one form in which every other module of the chart reads it. Does not draw.
 *
 * @typedef {object} Series One metric of one run, as buckets or as true points.
 * @property {string} key
 * @property {string} run
 * @property {string} [writer]
 * @property {string | null} [label] Writer's label.
 * @property {number} total Points of the series in all, also outside the range that was asked for.
 * @property {boolean} raw True: each entry is one true point (`x1` is `x0`, `low`, `high`, `last` are `mean`).
 * @property {Numbers} x0 x of the first point of each bucket, ascending.
 * @property {Numbers} [x1] x of the last point of each bucket.
 * @property {Numbers} [low]
 * @property {Numbers} [high]
 * @property {Numbers} mean
 * @property {Numbers} [last]
 * @property {Numbers | null} [n] Finite values in each bucket.
 * @property {Numbers | null} [bad] Buckets: count of NaN and infinities. Points: 0 finite, 1 NaN, 2 +Inf, 3 -Inf.
 *
 * @typedef {Float64Array | Float32Array | Uint32Array | Int32Array | Uint8Array | number[]} Numbers
 *
 * @typedef {object} Band An interval around a line, one pair per bucket.
 * @property {Numbers} low
 * @property {Numbers} high
 *
 * @typedef {object} Line What is drawn for one run, one writer or one group.
 * @property {string} id Unique in the chart.
 * @property {string} run What `onHover` and `highlight` name.
 * @property {string} label
 * @property {string} color CSS colour.
 * @property {number[]} [dash] Lengths in CSS pixels; empty for a solid line.
 * @property {Series} series
 * @property {Numbers | null} [smoothed] Smoothed means, one per bucket; computed by the chart where absent.
 * @property {Band | null} [band] Drawn in place of the minimum and maximum.
 * @property {boolean} [raised] Drawn last and wider.
 * @property {Numbers | null} [runs] For a group: runs that count in each bucket.
 * @property {number} [members] For a group: the number of its runs.
 * @property {string[]} [names] For a group: the names of its runs.
 *
 * @typedef {object} Trace A series with every array present.
 * @property {number} count
 * @property {boolean} raw
 * @property {number} total
 * @property {Float64Array} x Middle of each bucket.
 * @property {Numbers} x0
 * @property {Numbers} x1
 * @property {Numbers} low
 * @property {Numbers} high
 * @property {Float64Array} mean NaN where a bucket has no finite value.
 * @property {Float64Array} n Finite values in each bucket.
 * @property {Float64Array} bad Values that are not finite in each bucket.
 * @property {Uint8Array | null} codes For true points: 1 NaN, 2 +Inf, 3 -Inf.
 */

/** @type {WeakMap<Series, Trace>} */
const traces = new WeakMap();

/**
 * The series as a trace; computed once per series.
 * @param {Series} series
 * @returns {Trace}
 */
export function traceOf(series) {
  let trace = traces.get(series);
  if (!trace) {
    trace = build(series);
    traces.set(series, trace);
  }
  return trace;
}

/**
 * @param {Series} series
 * @returns {Trace}
 */
function build(series) {
  const count = series.x0.length;
  const { raw, x0 } = series;
  const x1 = series.x1 ?? x0;
  const memory = new Float64Array(4 * count);
  const [x, mean, n, bad] = [0, 1, 2, 3].map((i) => memory.subarray(i * count, (i + 1) * count));
  const codes = raw ? new Uint8Array(count) : null;
  for (let i = 0; i < count; i++) {
    x[i] = x0[i] / 2 + x1[i] / 2;
    const value = series.mean[i];
    const finite = Number.isFinite(value);
    if (codes) {
      const code = series.bad?.[i] || (finite ? 0 : Number.isNaN(value) ? 1 : value > 0 ? 2 : 3);
      codes[i] = code;
      n[i] = code ? 0 : 1;
      bad[i] = code ? 1 : 0;
    } else {
      bad[i] = series.bad?.[i] ?? 0;
      n[i] = finite ? (series.n?.[i] ?? 1) : 0;
    }
    mean[i] = n[i] > 0 ? value : NaN;
  }
  const low = raw ? mean : (series.low ?? mean);
  const high = raw ? mean : (series.high ?? mean);
  return { count, raw, total: series.total, x, x0, x1, low, high, mean, n, bad, codes };
}

/**
 * Index of the first entry that is at least `value`; the length if there is none.
 * @param {Numbers} sorted
 * @param {number} value
 * @returns {number}
 */
export function lowerBound(sorted, value) {
  let first = 0;
  let end = sorted.length;
  while (first < end) {
    const middle = (first + end) >> 1;
    if (sorted[middle] < value) first = middle + 1;
    else end = middle;
  }
  return first;
}

/**
 * Indices [first, end) of the buckets that touch [low, high], with one more on each side so that lines reach the edges.
 * @param {Trace} trace
 * @param {number} low
 * @param {number} high
 * @returns {[number, number]}
 */
export function visibleRange(trace, low, high) {
  const first = Math.max(0, lowerBound(trace.x1, low) - 1);
  let end = lowerBound(trace.x0, high);
  while (end < trace.count && trace.x0[end] <= high) end++;
  return [first, Math.min(trace.count, end + 1)];
}

/**
 * Merges buckets so that at most one is left per pixel column. Minimum, maximum, weighted mean and counts are kept.
 * @param {Trace} trace
 * @param {number} first
 * @param {number} end
 * @param {(x: number) => number} columnOf Pixel column of an x.
 * @param {Numbers | null} smoothed
 * @returns {{trace: Trace, smoothed: Float64Array | null}}
 */
export function mergeColumns(trace, first, end, columnOf, smoothed) {
  const size = end - first;
  const x0 = new Float64Array(size);
  const x1 = new Float64Array(size);
  const x = new Float64Array(size);
  const low = new Float64Array(size);
  const high = new Float64Array(size);
  const mean = new Float64Array(size);
  const n = new Float64Array(size);
  const bad = new Float64Array(size);
  const smooth = smoothed ? new Float64Array(size) : null;
  let filled = -1;
  let column = NaN;
  let smoothWeight = 0;
  for (let i = first; i < end; i++) {
    const here = Math.floor(columnOf(trace.x[i]));
    if (filled < 0 || here !== column) {
      filled++;
      column = here;
      smoothWeight = 0;
      x0[filled] = trace.x0[i];
      low[filled] = Infinity;
      high[filled] = -Infinity;
    }
    x1[filled] = trace.x1[i];
    bad[filled] += trace.bad[i];
    const weight = trace.n[i];
    if (weight > 0) {
      if (trace.low[i] < low[filled]) low[filled] = trace.low[i];
      if (trace.high[i] > high[filled]) high[filled] = trace.high[i];
      n[filled] += weight;
      mean[filled] += (trace.mean[i] - mean[filled]) * (weight / n[filled]);
    }
    if (smooth && smoothed && Number.isFinite(smoothed[i])) {
      smoothWeight += Math.max(weight, 1e-9);
      smooth[filled] += (smoothed[i] - smooth[filled]) * (Math.max(weight, 1e-9) / smoothWeight);
    }
  }
  const count = filled + 1;
  for (let i = 0; i < count; i++) {
    x[i] = x0[i] / 2 + x1[i] / 2;
    if (n[i] === 0) mean[i] = low[i] = high[i] = NaN;
  }
  const cut = (/** @type {Float64Array} */ array) => array.subarray(0, count);
  return {
    trace: {
      count, raw: false, total: trace.total, x: cut(x), x0: cut(x0), x1: cut(x1), low: cut(low), high: cut(high),
      mean: cut(mean), n: cut(n), bad: cut(bad), codes: null,
    },
    smoothed: smooth && cut(smooth),
  };
}
