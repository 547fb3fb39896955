/**
 * A chart in words and as a table, for screen readers. Pure.
 */
import { many } from "./picture.js";
import { traceOf } from "./series.js";
import { badCount } from "./strip.js";
import { valueText, xText } from "./words.js";

/**
 * @typedef {import("./series.js").Line} Line
 * @typedef {import("./picture.js").Options} Options
 */

/** Lines that are named one by one in the text. */
const MOST_NAMED = 5;

/**
 * @param {Line} line
 */
function summarize(line) {
  const trace = traceOf(line.series);
  let low = Infinity;
  let high = -Infinity;
  let lowAt = 0;
  let highAt = 0;
  let last = -1;
  let first = -1;
  for (let i = 0; i < trace.count; i++) {
    if (!(trace.n[i] > 0)) continue;
    if (trace.low[i] < low) [low, lowAt] = [trace.low[i], i];
    if (trace.high[i] > high) [high, highAt] = [trace.high[i], i];
    if (first < 0) first = i;
    last = i;
  }
  const lastValue = last < 0 ? NaN : (line.series.last?.[last] ?? trace.mean[last]);
  return { trace, low, high, lowAt, highAt, first, last, lastValue, bad: badCount([trace]) };
}

/**
 * A sentence for `aria-label`.
 * @param {Line[]} lines
 * @param {Options} options
 * @returns {string}
 */
export function describe(lines, options) {
  const parts = [options.title || "Chart"];
  const traces = lines.map((line) => traceOf(line.series));
  const shown = traces.filter((trace) => trace.n.some((n) => n > 0));
  if (!shown.length) {
    const bad = badCount(traces);
    return `${parts[0]}: ${bad ? `all ${many(bad, "value")} are NaN or infinite` : "no points"}`;
  }
  let low = Infinity;
  let high = -Infinity;
  for (const trace of shown) {
    low = Math.min(low, trace.x0[0]);
    high = Math.max(high, trace.x1[trace.count - 1]);
  }
  if (options.xRange) [low, high] = options.xRange;
  parts.push(`${many(lines.length, "line")}, ${options.xLabel} ${xText(options.xKind, low)} to ${xText(options.xKind, high)}`);
  lines.slice(0, MOST_NAMED).forEach((line) => {
    const { lastValue, low: least, high: most, bad, last } = summarize(line);
    if (last < 0) parts.push(`${line.label}: no finite values`);
    else parts.push(`${line.label}: last ${valueText(lastValue)}, from ${valueText(least)} to ${valueText(most)}${bad ? `, ${bad} NaN or infinite` : ""}`);
  });
  if (lines.length > MOST_NAMED) parts.push(`and ${lines.length - MOST_NAMED} more`);
  return parts.join(". ").replaceAll("−", "-");
}

/**
 * One row per line.
 * @param {Line[]} lines
 * @param {Options} options
 * @returns {{columns: string[], rows: string[][]}}
 */
export function rowsOf(lines, options) {
  const at = (/** @type {import("./series.js").Trace} */ trace, /** @type {number} */ i) => xText(options.xKind, trace.x0[i]);
  const columns = ["Run", "Points", `First ${options.xLabel}`, `Last ${options.xLabel}`, "Last value", "Minimum", "Maximum", "NaN or infinite"];
  const rows = lines.map((line) => {
    const { trace, low, high, lowAt, highAt, first, last, lastValue, bad } = summarize(line);
    const points = (trace.total || trace.count).toLocaleString("en-US");
    if (last < 0) return [line.label, points, "", "", "", "", "", String(bad)];
    const end = xText(options.xKind, trace.x1[last]);
    return [
      line.label, points, at(trace, first), end, valueText(lastValue),
      `${valueText(low)} at ${at(trace, lowAt)}`, `${valueText(high)} at ${at(trace, highAt)}`, String(bad),
    ];
  });
  return { columns, rows };
}
