/**
 * A line's geometry: pixels of its mean, minimum and maximum, where it breaks, and its needles. Pure.
 */
import { mergeColumns, visibleRange } from "./series.js";

/**
 * @typedef {object} Needles Buckets whose values spread far more than usual.
 * @property {number} count
 * @property {Float32Array} xs
 * @property {Float32Array} tops
 * @property {Float32Array} bottoms
 * @property {Int32Array} index Bucket of the shape's trace.
 *
 * @typedef {object} Shape
 * @property {import("./series.js").Line} line
 * @property {import("./series.js").Trace} trace What is drawn: the series, or its buckets merged by pixel column.
 * @property {import("./series.js").Numbers | null} smoothed Smoothed means of `trace`.
 * @property {number} first Bucket of `trace` that entry 0 of the arrays below is.
 * @property {number} count
 * @property {Float32Array} xs
 * @property {Float32Array} ys The line: smoothed means where there are any, else means.
 * @property {Float32Array | null} raws Means behind a smoothed line.
 * @property {Float32Array} lows
 * @property {Float32Array} highs
 * @property {Uint8Array} breaks 1: not joined to the entry before.
 * @property {Uint8Array | null} partial For a group: 1 where some of its runs have no value.
 * @property {Needles} needles
 */

/** A bucket is a needle where its spread is this many times the median one. */
const NEEDLE_FACTOR = 2.5;
/** Nor is it one below this many times the usual step of the mean from one bucket to the next: with few values in each bucket, that is noise. */
const NEEDLE_STEPS = 6;
/** Least length of a needle beyond the usual spread, in CSS pixels. */
const NEEDLE_LENGTH = 3;
/** Buckets on each side that a single needle must exceed. */
const NEIGHBOURS = 6;

/**
 * @param {import("./series.js").Line} line
 * @param {import("./series.js").Trace} whole
 * @param {import("./series.js").Numbers | null} smooth Smoothed means of `whole`.
 * @param {import("./scale.js").Scale} x
 * @param {import("./scale.js").Scale} y
 * @param {number} pixel Size of a device pixel.
 * @param {boolean} banded The minimum and maximum of all buckets are drawn, so that only single ones need needles.
 * @returns {Shape}
 */
export function shapeOf(line, whole, smooth, x, y, pixel, banded) {
  let [first, end] = visibleRange(whole, x.low, x.high);
  let trace = whole;
  let smoothed = smooth;
  let band = line.band ?? null;
  if (end - first > 2 * (Math.abs(x.end - x.start) / pixel) && !line.runs) {
    ({ trace, smoothed } = mergeColumns(whole, first, end, (value) => x.at(value) / pixel, smooth));
    band = null;
    first = 0;
    end = trace.count;
  }
  const count = Math.max(0, end - first);
  // One piece of memory for all columns: there may be thousands of lines, and each piece costs time of its own.
  const memory = new Float32Array(count * (smoothed ? 5 : 4));
  const [xs, ys, lows, highs] = [0, 1, 2, 3].map((i) => memory.subarray(i * count, (i + 1) * count));
  const raws = smoothed ? memory.subarray(4 * count) : null;
  const breaks = new Uint8Array(count);
  const partial = line.runs ? new Uint8Array(count) : null;
  const floor = Math.max(y.start, y.end) + 4;
  const bottom = band ? band.low : trace.low;
  const top = band ? band.high : trace.high;
  for (let i = 0; i < count; i++) {
    const k = first + i;
    xs[i] = x.at(trace.x[k]);
    const mean = y.at(trace.mean[k]);
    if (raws && smoothed) {
      raws[i] = mean;
      ys[i] = trace.n[k] > 0 ? y.at(smoothed[k]) : NaN;
    } else ys[i] = mean;
    const high = y.at(top[k]);
    const low = y.at(bottom[k]);
    highs[i] = trace.n[k] > 0 ? high : NaN;
    // On a log axis a bucket that reaches down to 0 reaches below the plot.
    lows[i] = ending(low, high, floor);
    breaks[i] = i > 0 && trace.bad[k - 1] > 0 ? 1 : 0;
    if (partial && line.runs && line.members) partial[i] = line.runs[k] < line.members ? 1 : 0;
  }
  endAtEdges(xs, raws ? [ys, raws, lows, highs] : [ys, lows, highs], Math.min(x.start, x.end), Math.max(x.start, x.end));
  const tops = band ? Float32Array.from(highs, (_, i) => y.at(trace.high[first + i])) : highs;
  const bottoms = band ? Float32Array.from(lows, (_, i) => ending(y.at(trace.low[first + i]), tops[i], floor)) : lows;
  const edge = y.kind === "log" ? floor : Infinity;
  const needles = findNeedles({ xs, ys, means: raws ?? ys, lows: bottoms, highs: tops, first, smoothed: raws !== null, floor: edge, local: banded });
  return { line, trace, smoothed, first, count, xs, ys, raws, lows, highs, breaks, partial, needles };
}

/**
 * @param {number} low
 * @param {number} high
 * @param {number} floor
 */
function ending(low, high, floor) {
  return Number.isNaN(low) && !Number.isNaN(high) ? floor : low;
}

/**
 * Moves the entry beyond each edge of the plot to that edge along its line: huge coordinates cost precision, and dashes time.
 * @param {Float32Array} xs
 * @param {Float32Array[]} columns
 * @param {number} left
 * @param {number} right
 */
function endAtEdges(xs, columns, left, right) {
  const last = xs.length - 1;
  if (last < 1) return;
  /** @type {(outer: number, inner: number, edge: number) => void} */
  const move = (outer, inner, edge) => {
    const share = (edge - xs[inner]) / (xs[outer] - xs[inner]);
    for (const column of columns) {
      if (column[inner] === column[inner]) column[outer] = column[inner] + (column[outer] - column[inner]) * share;
    }
    xs[outer] = edge;
  };
  if (xs[0] < left - 50 && xs[1] > left - 50) move(0, 1, left - 50);
  if (xs[last] > right + 50 && xs[last - 1] < right + 50) move(last, last - 1, right + 50);
}

/** @returns {Needles} */
function none() {
  return { count: 0, xs: new Float32Array(0), tops: new Float32Array(0), bottoms: new Float32Array(0), index: new Int32Array(0) };
}

/**
 * @param {object} data
 * @param {Float32Array} data.xs
 * @param {Float32Array} data.ys
 * @param {Float32Array} data.means
 * @param {Float32Array} data.lows
 * @param {Float32Array} data.highs
 * @param {number} data.first
 * @param {boolean} data.smoothed
 * @param {number} data.floor Lower ends from here on are at or below 0 on a log axis: how far is not known, and does not count.
 * @param {boolean} data.local Only buckets that also exceed those beside them.
 * @returns {Needles}
 */
function findNeedles({ xs, ys, means, lows, highs, first, smoothed, floor, local }) {
  const count = xs.length;
  const step = usualStep(means);
  // The smoothed line lies beside the values where they change: needles begin at where they usually are.
  const usual = smoothed ? withoutSpikes(means) : ys;
  const heights = borrow(0, count);
  for (let i = 0; i < count; i++) heights[i] = spread(i);
  const lists = [standing(heights, step, local)];
  // Each end also by itself: where one end of all buckets is far off, as it is near 0 on a log axis, the other still counts.
  for (let i = 0; i < count; i++) heights[i] = usual[i] - highs[i];
  lists.push(standing(heights, step, local));
  for (let i = 0; i < count; i++) heights[i] = lows[i] >= floor ? 0 : lows[i] - usual[i];
  lists.push(standing(heights, step, local));
  const index = [...new Set(lists.flat())].sort((a, b) => a - b);
  if (!index.length) return none();
  return {
    count: index.length,
    xs: Float32Array.from(index, (i) => xs[i]),
    tops: Float32Array.from(index, (i) => (smoothed && usual[i] < highs[i] ? usual[i] : highs[i])),
    bottoms: Float32Array.from(index, (i) => ((smoothed && usual[i] > lows[i]) || lows[i] >= floor ? usual[i] : lows[i])),
    index: Int32Array.from(index, (i) => first + i),
  };

  /** @param {number} i */
  function spread(i) {
    if (highs[i] !== highs[i]) return NaN;
    if (usual[i] !== usual[i]) return lows[i] >= floor ? 0 : lows[i] - highs[i];
    if (lows[i] >= floor) return Math.max(0, usual[i] - highs[i]);
    if (!smoothed) return lows[i] - highs[i];
    return Math.max(lows[i], usual[i]) - Math.min(highs[i], usual[i]);
  }
}

/**
 * Means without single ones that stand out: of each and the ones some entries before and behind it, the middle one. A slope stays as it is.
 * @param {Float32Array} means
 */
function withoutSpikes(means) {
  const last = means.length - 1;
  return means.map((mean, i) => {
    const before = means[Math.max(0, i - NEIGHBOURS)];
    const after = means[Math.min(last, i + NEIGHBOURS)];
    const middle = Math.max(Math.min(before, after), Math.min(Math.max(before, after), mean));
    return middle === middle ? middle : mean;
  });
}

/**
 * Entries that are far above the usual one.
 * @param {Float32Array} heights
 * @param {number} step Usual distance of means.
 * @param {boolean} local Only those that also exceed those beside them.
 * @returns {number[]}
 */
function standing(heights, step, local) {
  let lowest = Infinity;
  let highest = -Infinity;
  for (let i = 0; i < heights.length; i++) {
    const height = heights[i];
    if (height < lowest) lowest = height;
    if (height > highest) highest = height;
  }
  // Not even one that is far above the lowest: so for most lines nothing needs to be sorted.
  if (!(highest > leastNeedle(lowest, step))) return [];
  const ascending = sorted(heights);
  const least = leastNeedle(ascending[ascending.length >> 1], step);
  if (highest <= least) return [];
  /** @type {number[]} */
  const index = [];
  heights.forEach((height, i) => {
    if (height > least && !(local && height < NEEDLE_FACTOR * medianAround(heights, i))) index.push(i);
  });
  return index;
}

/**
 * Height above which an entry is a needle.
 * @param {number} usual
 * @param {number} step
 */
function leastNeedle(usual, step) {
  return Math.max(usual * NEEDLE_FACTOR, usual + NEEDLE_LENGTH, NEEDLE_STEPS * step);
}

/** Memory for intermediate results of one call, used again by the next. */
const memories = [new Float32Array(0), new Float32Array(0)];

/**
 * @param {0 | 1} place
 * @param {number} count
 */
function borrow(place, count) {
  if (memories[place].length < count) memories[place] = new Float32Array(2 * count);
  return memories[place].subarray(0, count);
}

/**
 * The entries that are not NaN, ascending, in borrowed memory.
 * @param {Float32Array} entries
 */
function sorted(entries) {
  const result = borrow(1, entries.length);
  let count = 0;
  for (let i = 0; i < entries.length; i++) if (entries[i] === entries[i]) result[count++] = entries[i];
  return result.subarray(0, count).sort();
}

/**
 * Median distance of an entry to the one before.
 * @param {Float32Array} means
 */
function usualStep(means) {
  const distances = borrow(0, Math.max(0, means.length - 1));
  for (let i = 0; i < distances.length; i++) distances[i] = Math.abs(means[i + 1] - means[i]);
  const steps = sorted(distances);
  return steps.length ? steps[steps.length >> 1] : 0;
}

/**
 * Median of the entries on both sides of one.
 * @param {Float32Array} heights
 * @param {number} i
 */
function medianAround(heights, i) {
  const near = sorted(heights.subarray(Math.max(0, i - NEIGHBOURS), i + NEIGHBOURS + 1));
  return near[near.length >> 1];
}
