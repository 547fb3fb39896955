/**
 * Marks in the strip below the plot: where values are NaN or infinite, and where a bucket spreads far more than usual. Pure.
 *
 * @typedef {"NaN" | "+Inf" | "-Inf" | "not finite" | "spike"} MarkKind
 *
 * @typedef {object} Mark
 * @property {MarkKind} kind "not finite": NaN or infinite; buckets do not tell which.
 * @property {number} pixel
 * @property {number} x0 x of the first and the last point that it may be.
 * @property {number} x1
 * @property {number} count
 * @property {import("./series.js").Line} line
 */

/** @type {MarkKind[]} */
const CODES = ["NaN", "NaN", "+Inf", "-Inf"];

/**
 * @param {import("./shape.js").Shape[]} shapes
 * @param {import("./scale.js").Scale} x
 * @returns {Mark[]} In the order in which they are drawn: spikes first.
 */
export function marksOf(shapes, x) {
  /** @type {Mark[]} */
  const spikes = [];
  /** @type {Mark[]} */
  const bad = [];
  for (const { line, trace, first, count, needles } of shapes) {
    for (let i = 0; i < needles.count; i++) {
      const k = needles.index[i];
      spikes.push({ kind: "spike", pixel: needles.xs[i], x0: trace.x0[k], x1: trace.x1[k], count: trace.n[k], line });
    }
    for (let k = first; k < first + count; k++) {
      if (!(trace.bad[k] > 0) || trace.x1[k] < x.low || trace.x0[k] > x.high) continue;
      const kind = trace.codes ? CODES[trace.codes[k]] : "not finite";
      bad.push({ kind, pixel: x.at(trace.x[k]), x0: trace.x0[k], x1: trace.x1[k], count: trace.bad[k], line });
    }
  }
  return spikes.concat(bad);
}

/**
 * Marks within reach of a pixel, at most one for each line and kind, nearest first.
 * @param {Mark[]} marks
 * @param {number} pixel
 * @param {number} reach
 * @returns {Mark[]}
 */
export function marksAt(marks, pixel, reach = 5) {
  /** @type {Map<string, Mark>} */
  const nearest = new Map();
  for (const mark of marks) {
    const distance = Math.abs(mark.pixel - pixel);
    if (distance > reach) continue;
    const id = `${mark.kind} ${mark.line.id}`;
    const other = nearest.get(id);
    if (!other || Math.abs(other.pixel - pixel) > distance) nearest.set(id, mark);
  }
  return [...nearest.values()].sort((a, b) => rank(a) - rank(b) || Math.abs(a.pixel - pixel) - Math.abs(b.pixel - pixel));
}

/** @param {Mark} mark */
function rank(mark) {
  return mark.kind === "spike" ? 1 : 0;
}

/**
 * Total of values that are not finite, by kind.
 * @param {import("./series.js").Trace[]} traces
 * @returns {number}
 */
export function badCount(traces) {
  let sum = 0;
  for (const trace of traces) for (let i = 0; i < trace.count; i++) sum += trace.bad[i];
  return sum;
}
