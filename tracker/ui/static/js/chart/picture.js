/**
 * A picture: everything that is drawn, computed from lines, options and a size, without drawing. Canvas, SVG, hover and
 * tests all use the same one. Pure.
 */
import { layoutAxes } from "./axes.js";
import { notPositive, xBounds, yBounds } from "./extent.js";
import { usableRange } from "./scale.js";
import { traceOf } from "./series.js";
import { shapeOf } from "./shape.js";
import { smooth } from "./smooth.js";
import { badCount, marksOf } from "./strip.js";
import { label } from "./ticks.js";

/**
 * @typedef {import("./series.js").Line} Line
 * @typedef {import("./series.js").Trace} Trace
 *
 * @typedef {object} Options
 * @property {string} title Used in exports and for screen readers.
 * @property {string} xLabel Name of the x axis, in exports.
 * @property {import("./ticks.js").AxisKind} xKind
 * @property {boolean} nameX Whether the plot names its x axis.
 * @property {boolean} logX
 * @property {boolean} logY
 * @property {[number, number] | null} xRange Null: all of the data.
 * @property {[number, number] | null} yRange
 * @property {number} smooth Half-life, half width or window in units of x; 0 for none.
 * @property {import("./smooth.js").SmoothKind} smoothKind
 * @property {"minmax" | "none"} band Band of lines that bring none of their own.
 * @property {boolean} outliers True: leave outliers out of the y range, and say so.
 *
 * @typedef {object} Clipped An outlier beyond the top or the bottom edge.
 * @property {number} pixel
 * @property {boolean} top
 * @property {number} value
 * @property {string} color
 *
 * @typedef {object} PictureParts
 * @property {Options} options
 * @property {import("./shape.js").Shape[]} shapes
 * @property {import("./strip.js").Mark[]} marks
 * @property {Clipped[]} clipped
 * @property {string[]} notes What the plot leaves out.
 * @property {{top: boolean, left: boolean}} corner Where the notes hide least.
 * @property {string} empty Why there is nothing to see; empty if there is.
 * @property {boolean} bands Each line's minimum and maximum is drawn, not only needles.
 *
 * @typedef {import("./axes.js").Axes & PictureParts} Picture
 */

/** @type {Options} */
export const DEFAULTS = {
  title: "", xLabel: "step", xKind: "step", nameX: false, logX: false, logY: false, xRange: null, yRange: null,
  smooth: 0, smoothKind: "ema", band: "minmax", outliers: false,
};

/** Maximum number of lines whose bands are drawn; more would mix to mud. */
export const MOST_BANDS = 5;
/** Height of the strip of marks, in CSS pixels. */
export const STRIP = 6;

/** @type {WeakMap<Trace, {key: string, values: Float64Array}>} */
const smoothedTraces = new WeakMap();

/**
 * Smoothed means of a line; null without smoothing.
 * @param {Line} line
 * @param {Options} options
 * @returns {import("./series.js").Numbers | null}
 */
export function smoothedOf(line, options) {
  if (line.smoothed) return line.smoothed;
  if (!(options.smooth > 0)) return null;
  const trace = traceOf(line.series);
  const key = `${options.smoothKind} ${options.smooth}`;
  const known = smoothedTraces.get(trace);
  if (known?.key === key) return known.values;
  const values = smooth(trace, options.smoothKind, options.smooth);
  smoothedTraces.set(trace, { key, values });
  return values;
}

/**
 * @param {Line[]} lines
 * @param {Options} options
 * @param {number} width
 * @param {number} height
 * @param {number} pixel Size of a device pixel.
 * @param {(text: string, size: number) => number} measure
 * @returns {Picture}
 */
export function makePicture(lines, options, width, height, pixel, measure) {
  const traces = lines.map((line) => traceOf(line.series));
  const parts = traces.map((trace, i) => ({ trace, band: lines[i].band ?? null }));
  const [xLow, xHigh] = xRangeOf(traces, options);
  const kind = options.logY ? "log" : "linear";
  const bounds = yBounds(parts, [xLow, xHigh], options.logY, options.outliers && !options.yRange);
  const [yLow, yHigh] = options.yRange
    ? usableRange(options.yRange[0], options.yRange[1], kind)
    : usableRange(bounds.low, bounds.high, kind, options.logY ? 0.03 : 0.05);

  const axes = layoutAxes(
    { kind: options.xKind, log: options.logX, range: [xLow, xHigh] }, { kind: "number", log: options.logY, range: [yLow, yHigh] },
    width, height, STRIP, measure,
  );
  const { plot, x, y, yTicks } = axes;
  const bands = options.band === "minmax" && lines.length <= MOST_BANDS;
  const shapes = lines.map((line, i) => shapeOf(line, traces[i], smoothedOf(line, options), x, y, pixel, bands || Boolean(line.band)));
  shapes.sort((a, b) => Number(a.line.raised ?? false) - Number(b.line.raised ?? false));
  const clipped = options.outliers && !options.yRange ? clippedOf(shapes, y) : [];
  const { notes, empty } = explain(parts, traces, options, [xLow, xHigh], bounds, clipped);
  const corner = notes.length ? quietCorner(shapes, plot, Math.max(...notes.map((note) => measure(note, 10))), 14 * notes.length + 6) : { top: true, left: false };
  return {
    ...axes, options, yTicks: empty && bounds.low > bounds.high && !options.yRange ? { ...yTicks, values: [], labels: [] } : yTicks,
    shapes, marks: marksOf(shapes, x), clipped, notes, corner, empty,
    bands,
  };
}

/**
 * @param {Trace[]} traces
 * @param {Options} options
 * @returns {[number, number]}
 */
function xRangeOf(traces, options) {
  const kind = options.logX ? "log" : "linear";
  if (options.xRange) {
    let [low, high] = options.xRange;
    if (options.logX && !(low > 0)) low = xBounds(traces, true).low;
    if (low < high) return usableRange(low, high, kind);
  }
  const { low, high } = xBounds(traces, options.logX);
  if (low === high && kind === "linear") return [low - 1, high + 1];
  return usableRange(low, high, kind);
}

/**
 * The corner of the plot in which a text covers the fewest points.
 * @param {import("./shape.js").Shape[]} shapes
 * @param {import("./axes.js").Rect} plot
 * @param {number} width
 * @param {number} height
 * @returns {{top: boolean, left: boolean}}
 */
function quietCorner(shapes, plot, width, height) {
  const corners = [{ top: true, left: false }, { top: false, left: false }, { top: true, left: true }, { top: false, left: true }];
  const covered = corners.map(({ top, left }) => {
    const from = left ? plot.left : plot.right - width - 8;
    const above = top ? plot.top : plot.bottom - height;
    let sum = 0;
    for (const { xs, ys, lows, highs, count } of shapes) {
      for (let i = 0; i < count; i++) {
        if (xs[i] < from || xs[i] > from + width + 8) continue;
        if (lows[i] > above && highs[i] < above + height) sum += ys[i] > above && ys[i] < above + height ? 2 : 1;
      }
    }
    return sum;
  });
  return corners[covered.indexOf(Math.min(...covered))];
}

/**
 * @param {import("./shape.js").Shape[]} shapes
 * @param {import("./scale.js").Scale} y
 * @returns {Clipped[]} Most extreme first.
 */
function clippedOf(shapes, y) {
  /** @type {Clipped[]} */
  const found = [];
  for (const { line, trace, first, count, xs } of shapes) {
    for (let i = 0; i < count; i++) {
      const k = first + i;
      if (!(trace.n[k] > 0)) continue;
      if (trace.high[k] > y.high) found.push({ pixel: xs[i], top: true, value: trace.high[k], color: line.color });
      if (trace.low[k] < y.low && (y.kind === "linear" || trace.low[k] > 0)) {
        found.push({ pixel: xs[i], top: false, value: trace.low[k], color: line.color });
      }
    }
  }
  return found.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
}

/**
 * @param {{trace: Trace, band: import("./series.js").Band | null}[]} parts
 * @param {Trace[]} traces
 * @param {Options} options
 * @param {[number, number]} range
 * @param {{low: number, high: number}} bounds
 * @param {Clipped[]} clipped
 * @returns {{notes: string[], empty: string}}
 */
function explain(parts, traces, options, range, bounds, clipped) {
  const notes = [];
  let empty = "";
  if (options.logY) {
    const { count, exact } = notPositive(parts, range);
    if (count) notes.push(`${exact ? "" : "at least "}${many(count, "value")} ≤ 0 not shown on the log axis`);
  }
  if (options.logX) {
    const hidden = traces.reduce((sum, trace) => sum + pointsUpTo(trace, 0), 0);
    if (hidden) notes.push(`${many(hidden, "point")} at x ≤ 0 not shown on the log axis`);
  }
  if (clipped.length) {
    const highest = clipped.filter((mark) => mark.top).reduce((most, mark) => Math.max(most, mark.value), -Infinity);
    const lowest = clipped.filter((mark) => !mark.top).reduce((least, mark) => Math.min(least, mark.value), Infinity);
    const reach = [];
    if (highest > -Infinity) reach.push(`up to ${label(highest, 0)}`);
    if (lowest < Infinity) reach.push(`down to ${label(lowest, 0)}`);
    notes.push(`outliers beyond the edge: ${reach.join(", ")}`);
  }
  if (!(bounds.low <= bounds.high)) {
    const bad = badCount(traces);
    const points = traces.reduce((sum, trace) => sum + trace.count, 0);
    if (!points) empty = "No points yet";
    else if (options.logY && notes.length) empty = "No value is above 0; a log axis cannot show them";
    else if (bad) empty = bad === 1 ? "The only value is NaN or infinite" : `All ${many(bad, "value")} are NaN or infinite`;
    else empty = "No points in this range";
    if (options.xRange && points && !(options.logY && notes.length)) empty = "No finite values in this range";
  }
  return { notes, empty };
}

/**
 * @param {Trace} trace
 * @param {number} limit
 */
function pointsUpTo(trace, limit) {
  let sum = 0;
  for (let i = 0; i < trace.count && trace.x0[i] <= limit; i++) sum += trace.x1[i] <= limit ? trace.n[i] + trace.bad[i] : 1;
  return sum;
}

/**
 * @param {number} count
 * @param {string} noun
 */
export function many(count, noun) {
  return `${count.toLocaleString("en-US")} ${noun}${count === 1 ? "" : "s"}`;
}
