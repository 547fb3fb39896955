/**
 * Where curves part, as an order, a sentence and a range to look at. Pure functions.
 */
import { plural, whole } from "../core/format.js";

/**
 * @typedef {{step: number, value: any, baseline: any}} Split
 * @typedef {{key: string, run: string, common: number, exact: Split | null, clear: Split | null, range: [number, number] | null}} Curve
 */

/**
 * Those that part first come first, those that never do last.
 * @param {Curve[]} curves
 * @returns {Curve[]}
 */
export function ordered(curves) {
  const at = (/** @type {Curve} */ curve) => (curve.clear ? curve.clear.step : curve.exact ? 1e18 + curve.exact.step : curve.common ? 3e18 : 2e18);
  return [...curves].sort((a, b) => at(a) - at(b) || a.key.localeCompare(b.key));
}

/**
 * @param {Curve[]} sorted as `ordered` returns them
 * @param {boolean} done whether all were compared
 * @returns {string}
 */
export function summaryOf(sorted, done) {
  if (!sorted.length) return done ? "These two runs have no metric in common." : "Comparing the curves…";
  const parted = sorted.filter((curve) => curve.clear);
  const slightly = sorted.filter((curve) => !curve.clear && curve.exact);
  const same = sorted.filter((curve) => !curve.exact && curve.common);
  const first = parted[0];
  const parts = [];
  if (first?.clear) {
    const together = parted.filter((curve) => curve.clear?.step === first.clear?.step);
    parts.push(`Their curves part clearly first at step ${whole(first.clear.step)}, in ${first.key}${together.length > 1 ? ` and ${plural(together.length - 1, "other metric", "other metrics")}` : ""}.`);
  }
  if (slightly.length) parts.push(`${plural(slightly.length, "metric differs", "metrics differ")} by at most 1 % of the range.`);
  if (same.length) parts.push(`${plural(same.length, "metric is", "metrics are")} exactly the same at all common steps.`);
  return parts.join(" ") || "Their metrics have no step in common.";
}

/**
 * A range of steps around the place where curves part.
 * @param {number} step
 * @param {number} last the last step of both
 * @returns {[number, number]}
 */
export function zoomAround(step, last) {
  const reach = Math.max(5, Math.round(Math.max(last, step) * 0.03));
  return [Math.max(0, step - reach), step + reach];
}
