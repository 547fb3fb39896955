/**
 * Axes of the scatter and of the parallel coordinates: places of values between 0 and 1, and labels. Pure functions.
 */
import { ticksFor } from "../chart/ticks.js";
import { numeric } from "./delta.js";

/**
 * @typedef {object} Axis
 * @property {"number" | "category"} kind
 * @property {boolean} log
 * @property {(value: any) => number | null} place between 0 and 1; null for a value that the axis does not have
 * @property {{at: number, label: string, value: any}[]} ticks
 * @property {(place: number) => number} value the number at a place; of a category, its index
 * @property {string} note what all labels leave out, such as the day; "" if nothing
 * @property {number} left values that the axis cannot show: missing, not finite, or not positive on a log axis
 */

/** Most categories of an axis. */
export const MOST_CATEGORIES = 30;
const MARGIN = 0.04;

/**
 * @param {any[]} values one per run; null for none
 * @param {{log?: boolean, most?: number, kind?: import("../chart/ticks.js").AxisKind}} [options] `most`: number of ticks; `kind`: of numbers
 * @returns {Axis}
 */
export function makeAxis(values, { log = false, most = 6, kind = "number" } = {}) {
  const present = values.filter((value) => value !== null && value !== undefined);
  const numbers = present.map(numeric);
  return present.length > 0 && numbers.every((value) => value !== null) ? numberAxis(values, log, most, kind) : categoryAxis(values);
}

/**
 * @param {any[]} values
 * @param {boolean} log
 * @param {number} most
 * @param {import("../chart/ticks.js").AxisKind} kind
 * @returns {Axis}
 */
function numberAxis(values, log, most, kind) {
  const shown = (/** @type {any} */ value) => {
    const given = value === null || value === undefined ? null : numeric(value);
    return given !== null && Number.isFinite(given) && (!log || given > 0) ? given : null;
  };
  const usable = /** @type {number[]} */ (values.map(shown).filter((value) => value !== null));
  const scale = log ? Math.log10 : (/** @type {number} */ value) => value;
  const back = log ? (/** @type {number} */ value) => 10 ** value : (/** @type {number} */ value) => value;
  let low = usable.length ? scale(Math.min(...usable)) : 0;
  let high = usable.length ? scale(Math.max(...usable)) : 1;
  if (low === high) {
    const room = log ? 0.5 : Math.abs(low) * 0.1 || 0.5;
    low -= room;
    high += room;
  }
  const span = high - low;
  low -= span * MARGIN;
  high += span * MARGIN;
  const at = (/** @type {number} */ value) => (scale(value) - low) / (high - low);
  const whole = kind === "number" && usable.every(Number.isInteger);
  const ticks = ticksFor(whole ? "step" : kind, log, back(low), back(high), most);
  return {
    kind: "number", log, note: ticks.note, left: values.length - usable.length,
    place: (value) => {
      const given = shown(value);
      return given === null ? null : at(given);
    },
    value: (place) => back(low + place * (high - low)),
    ticks: ticks.values.map((value, i) => ({ at: at(value), value, label: ticks.labels[i] ?? "" })),
  };
}

/**
 * @param {any[]} values
 * @returns {Axis}
 */
function categoryAxis(values) {
  const text = (/** @type {any} */ value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
  const all = [...new Set(values.filter((value) => value !== null && value !== undefined).map(text))].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  const shown = all.slice(0, MOST_CATEGORIES);
  const at = (/** @type {number} */ index) => (shown.length < 2 ? 0.5 : MARGIN + (index / (shown.length - 1)) * (1 - 2 * MARGIN));
  const place = (/** @type {any} */ value) => {
    const index = value === null || value === undefined ? -1 : shown.indexOf(text(value));
    return index < 0 ? null : at(index);
  };
  return {
    kind: "category", log: false, note: "", place, left: values.filter((value) => place(value) === null).length,
    value: (share) => (shown.length < 2 ? 0 : ((share - MARGIN) / (1 - 2 * MARGIN)) * (shown.length - 1)),
    ticks: shown.map((label, index) => ({ at: at(index), label, value: label })),
  };
}

/**
 * A colour for a share of a range: dark blue to yellow, told apart by people with any colour vision.
 * @param {number} share 0 to 1
 * @returns {string}
 */
export function rampColor(share) {
  const stops = [[68, 60, 140], [50, 105, 150], [35, 145, 140], [85, 185, 100], [225, 205, 50]];
  const at = Math.max(0, Math.min(0.9999, share)) * (stops.length - 1);
  const from = /** @type {number[]} */ (stops[Math.floor(at)]);
  const to = /** @type {number[]} */ (stops[Math.floor(at) + 1]);
  const mix = at % 1;
  return `rgb(${from.map((value, channel) => Math.round(value + (/** @type {number} */ (to[channel]) - value) * mix)).join(" ")})`;
}

/**
 * Whether two values a column has differ, so that it is of use as an axis.
 * @param {any[]} values
 * @returns {boolean}
 */
export function varies(values) {
  const texts = new Set(values.filter((value) => value !== null && value !== undefined).map((value) => JSON.stringify(value)));
  return texts.size > 1;
}

/**
 * Whether numbers are better shown on a log axis: all positive, and over two decades.
 * @param {any[]} values
 * @returns {boolean}
 */
export function spansDecades(values) {
  const numbers = /** @type {number[]} */ (values.map(numeric).filter((value) => value !== null && Number.isFinite(value)));
  return numbers.length > 2 && numbers.every((value) => value > 0) && Math.max(...numbers) / Math.min(...numbers) >= 100;
}

/**
 * Which axes are logarithmic, as text for the address: lines `+config.lr` and `-summary.loss` for those that differ from the automatic choice.
 * @param {string} text
 * @param {import("./columns.js").Column} column
 * @returns {boolean}
 */
export function isLogAxis(text, { id, number, values }) {
  if (!number) return false;
  const chosen = text.split("\n");
  return chosen.includes(`+${id}`) || (spansDecades(values) && !chosen.includes(`-${id}`));
}

/**
 * @param {string} text
 * @param {import("./columns.js").Column} column
 * @returns {string} with the axis of a column the other way
 */
export function withLogAxis(text, column) {
  const log = !isLogAxis(text, column);
  const others = text.split("\n").filter((line) => line && line.slice(1) !== column.id);
  return [...others, ...(log === spansDecades(column.values) ? [] : [`${log ? "+" : "-"}${column.id}`])].join("\n");
}

/**
 * Paths of a run's line in parallel coordinates: along the axes where it has values, and across those where it has none. A
 * value without a neighbour is a dot.
 * @param {{at: number, text: string}[]} points in the order of the axes; `text`: the place, for a path
 * @returns {{path: string, across: string}}
 */
export function pathsOf(points) {
  let path = "", across = "";
  points.forEach((point, index) => {
    const before = points[index - 1];
    if (before && before.at === point.at - 1) path += `L${point.text}`;
    else {
      if (before) across += `M${before.text}L${point.text}`;
      path += points[index + 1]?.at === point.at + 1 ? `M${point.text}` : `M${point.text}h0`;
    }
  });
  return { path, across };
}
