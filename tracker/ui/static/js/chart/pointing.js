/**
 * What a pointer in a picture is at: the nearest run, the x, and the list of values or marks to show beside it. Pure.
 */
import { nearestShape, readingAt, readingsAt } from "./nearest.js";
import { STRIP } from "./picture.js";
import { marksAt } from "./strip.js";
import { markText, placeText, resolutionOf, valueText } from "./words.js";

/**
 * @typedef {import("./picture.js").Picture} Picture
 * @typedef {import("./values.js").Box} Box In CSS pixels of the element.
 *
 * @typedef {object} List
 * @property {string} head
 * @property {import("./values.js").Row[]} rows
 * @property {string} foot
 * @property {[number, number]} at
 * @property {(box: Box) => number} covered How much of the nearest line a box covers.
 *
 * @typedef {object} Pointed
 * @property {string | null} run
 * @property {number | null} x
 * @property {List | null} list
 */

/** Distance within which a line is raised, in CSS pixels. */
export const REACH = 48;
/** Maximum number of values in the list at the cursor. */
const MOST_ROWS = 8;
/** Maximum number of a group's runs that are named below it. */
const MOST_NAMES = 6;

/**
 * @param {Picture} picture
 * @param {[number, number]} pointer
 * @returns {Pointed}
 */
export function pointAt(picture, [px, py]) {
  const { plot, shapes, options } = picture;
  const inside = px >= plot.left - 4 && px <= plot.right + 4;
  const marks = listMarks(picture, px, py);
  if (!inside || !shapes.length || picture.empty) return { run: null, x: null, list: marks };
  if (marks) return { run: null, x: picture.x.invert(px), list: marks };
  const found = nearestShape(shapes, px, Math.min(py, plot.bottom));
  const shape = found && found.distance <= REACH ? found.shape : null;
  const reading = shape && readingAt(shape, px, REACH);
  const x = reading ? reading.shape.trace.x[reading.index] : picture.x.invert(px);
  const at = picture.x.at(x);
  const { readings, hidden } = readingsAt(shapes, at, py, shape, MOST_ROWS);
  const run = shape ? shape.line.run : null;
  if (!readings.length) return { run, x, list: null };
  const main = readings.find((one) => one.shape === shape) ?? readings[0];
  const { trace } = main.shape;
  return {
    run, x,
    list: {
      head: placeText(options.xKind, options.xLabel, trace.x0[main.index], trace.x1[main.index]),
      rows: readings.map((one) => rowOf(one, one.shape === shape, options, resolutionOf(picture.y))),
      foot: [hidden ? `${hidden} more` : "", shape ? membersOf(shape.line) : ""].filter(Boolean).join("\n"),
      at: [at, py],
      covered: (box) => covered(main.shape, box),
    },
  };
}

/**
 * The runs of a group: `lr 0.1: amber-fern, calm-dune and 3 more`.
 * @param {import("./series.js").Line} line
 * @returns {string} empty for a run
 */
function membersOf({ label, names }) {
  if (!names?.length) return "";
  const more = names.length - MOST_NAMES;
  return `${label}: ${names.slice(0, MOST_NAMES).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

/**
 * The marks of the strip at a pixel.
 * @param {Picture} picture
 * @param {number} px
 * @param {number} py
 * @returns {List | null}
 */
function listMarks(picture, px, py) {
  const { options, plot } = picture;
  const inStrip = py > plot.bottom - 1 && py < plot.bottom + STRIP + 8;
  const marks = inStrip ? marksAt(picture.marks, px) : [];
  if (!marks.length) return null;
  const rows = marks.slice(0, MOST_ROWS).map((mark) => ({
    color: mark.line.color, dashed: Boolean(mark.line.dash?.length), label: mark.line.label,
    value: markText(mark, options.xKind, options.xLabel), detail: "", nearest: false,
  }));
  const foot = marks.length > rows.length ? `${marks.length - rows.length} more` : "";
  return { head: "Click to zoom to it", rows, foot, at: [px, py], covered: () => 0 };
}

/**
 * @param {import("./nearest.js").Reading} reading
 * @param {boolean} nearest
 * @param {import("./picture.js").Options} options
 * @param {number} resolution
 * @returns {import("./values.js").Row}
 */
function rowOf(reading, nearest, options, resolution) {
  const { line, trace, smoothed } = reading.shape;
  const text = (/** @type {number} */ value) => valueText(value, true, resolution);
  const k = reading.index;
  const mean = trace.mean[k];
  const details = [];
  let value = text(mean);
  if (trace.codes && trace.codes[k]) value = ["", "NaN", "+Inf", "−Inf"][trace.codes[k]];
  else if (!(trace.n[k] > 0)) value = `${trace.bad[k].toLocaleString("en-US")} × NaN or ±Inf`;
  else if (smoothed) {
    value = text(smoothed[k]);
    details.push(trace.raw ? `raw ${text(mean)}` : `mean ${text(mean)}`);
  }
  const band = line.band ?? (trace.raw ? null : trace);
  if (band && trace.n[k] > 0 && band.low[k] !== band.high[k]) details.push(`${text(band.low[k])} to ${text(band.high[k])}`);
  if (line.runs && line.members) details.push(`${line.runs[k]} of ${line.members} runs`);
  if (!trace.codes && trace.bad[k] > 0 && trace.n[k] > 0) details.push(`${trace.bad[k].toLocaleString("en-US")} not finite`);
  if (options.logY && mean <= 0) details.push("not on the log axis");
  return { run: line.run, color: line.color, dashed: Boolean(line.dash?.length), label: line.label, value, detail: details.join(" · "), nearest };
}

/**
 * How many of a line's pixels a box covers.
 * @param {import("./shape.js").Shape} shape
 * @param {Box} box
 */
function covered(shape, box) {
  const { xs, ys, count, needles } = shape;
  const left = box.left - 4;
  const right = left + box.width + 8;
  const top = box.top - 4;
  const bottom = top + box.height + 8;
  let sum = 0;
  for (let i = 0; i < count; i++) {
    if (xs[i] < left) continue;
    if (xs[i] > right) break;
    if (ys[i] >= top && ys[i] <= bottom) sum++;
    else if (i > 0 && ys[i - 1] < top !== ys[i] < top) sum++;
  }
  for (let i = 0; i < needles.count; i++) {
    if (needles.xs[i] >= left && needles.xs[i] <= right && needles.tops[i] < bottom && needles.bottoms[i] > top) sum++;
  }
  return sum;
}
