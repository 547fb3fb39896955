/**
 * Values, positions and readings as text, for the list at the cursor, screen readers and exports. Pure.
 */
import { duration } from "./ticks.js";

/**
 * A value with five significant digits, or as many as tell it from others on the same axis.
 * @param {number} value
 * @param {boolean} [even] Keeps zeros at the end, so that values in a column line up.
 * @param {number} [resolution] Difference that must be told; 0 if unknown.
 * @returns {string}
 */
export function valueText(value, even = false, resolution = 0) {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "−Inf";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (resolution > 0 && size < 1e15 && size > resolution * 1e5) {
    const places = Math.min(12, Math.max(0, -Math.floor(Math.log10(resolution))));
    return value.toLocaleString("en-US", { maximumFractionDigits: places, minimumFractionDigits: even ? places : 0 }).replace("-", "−");
  }
  if (size >= 1e9 || size < 1e-4) {
    const [factor, power] = value.toExponential(4).split("e");
    return `${factor.replace(/\.?0+$/, "")}e${power.replace("+", "")}`.replace(/-/g, "−");
  }
  if (size >= 1e5) return value.toLocaleString("en-US", { maximumFractionDigits: size >= 1e6 ? 0 : 1 }).replace("-", "−");
  const text = value.toPrecision(5);
  return (text.includes(".") && !(even && !Number.isInteger(value)) ? text.replace(/\.?0+$/, "") : text).replace("-", "−");
}

/**
 * Difference between values that is worth telling on a y axis.
 * @param {import("./scale.js").Scale} y
 * @returns {number}
 */
export function resolutionOf(y) {
  return y.kind === "log" ? 0 : (y.high / 2 - y.low / 2) / 500;
}

/**
 * A position on the x axis.
 * @param {import("./ticks.js").AxisKind} kind
 * @param {number} x
 * @returns {string}
 */
export function xText(kind, x) {
  if (kind === "time") {
    const date = new Date(x * 1000);
    if (Number.isNaN(date.getTime())) return String(x);
    const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
    return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  }
  if (kind === "relative") return duration(x, x < 10 ? 0.01 : 1);
  if (kind === "step") return x.toLocaleString("en-US", { maximumFractionDigits: 3 });
  return valueText(x);
}

/**
 * The place of a bucket: `step 1,200` or `step 1,200 to 1,299`.
 * @param {import("./ticks.js").AxisKind} kind
 * @param {string} name Name of the x axis.
 * @param {number} x0
 * @param {number} x1
 * @returns {string}
 */
export function placeText(kind, name, x0, x1) {
  const from = xText(kind, x0);
  const to = xText(kind, x1);
  const where = from === to ? from : `${from} to ${to}`;
  return kind === "time" ? where : `${name} ${where}`;
}

/**
 * A bucket or point of a line, as it is told to screen readers.
 * @param {import("./shape.js").Shape} shape
 * @param {number} k Index in the shape's trace.
 * @returns {string} `2.5`, `smoothed 0.41, 2.5` or, of a bucket, `mean 0.41, 0.2 to 2.5`.
 */
export function readingText({ trace, smoothed }, k) {
  if (trace.codes?.[k]) return ["", "NaN", "+Inf", "−Inf"][trace.codes[k]];
  const bad = trace.bad[k] > 0 ? `${trace.bad[k].toLocaleString("en-US")} NaN or infinite` : "";
  if (!(trace.n[k] > 0)) return bad;
  const parts = smoothed ? [`smoothed ${valueText(smoothed[k])}`] : [];
  if (trace.low[k] === trace.high[k]) parts.push(valueText(trace.mean[k]));
  else parts.push(`mean ${valueText(trace.mean[k])}`, `${valueText(trace.low[k])} to ${valueText(trace.high[k])}`);
  return parts.concat(bad || []).join(", ");
}

/**
 * @param {import("./strip.js").Mark} mark
 * @param {import("./ticks.js").AxisKind} kind
 * @param {string} name
 * @returns {string} `3 values NaN or infinite at step 1,200 to 1,299`.
 */
export function markText(mark, kind, name) {
  const where = placeText(kind, name, mark.x0, mark.x1);
  if (mark.kind === "spike") return `wide spread at ${where}`;
  const what = mark.kind === "not finite" ? "NaN or infinite" : mark.kind.replace("-", "−");
  const count = mark.count === 1 ? "" : `${mark.count.toLocaleString("en-US")} × `;
  return `${count}${what} at ${where}`;
}
