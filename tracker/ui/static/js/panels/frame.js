/** The part of the data that panels show: axis, range, margins. Pure functions. */

/**
 * @typedef {object} Frame what all panels have in common
 * @property {string} x "step", "relative", "time" or "metric:KEY"
 * @property {number | null} low
 * @property {number | null} high
 * @property {boolean} log_x
 * @property {number} margin share of the range that is asked for on both sides as well
 * @property {"apart" | "together"} writers
 */

/**
 * Text that is equal for frames that show the same data.
 * @param {Frame} frame
 * @returns {string}
 */
export function frameSignature(frame) {
  return [frame.x, frame.low ?? "", frame.high ?? "", frame.log_x ? "log" : "", frame.margin, frame.writers].join("|");
}

/**
 * Margin that smoothing and panning need, as a share of the range: an exponential mean of half-life h needs seven of them (what is older weighs less than 1 %).
 * @param {number} smooth half-life in units of x
 * @param {string} kind
 * @param {[number, number] | null} zoom
 * @returns {number} rounded up to a quarter, so that moving a slider does not ask for new data at each step
 */
export function marginFor(smooth, kind, zoom) {
  if (!zoom) return 0;
  const span = zoom[1] - zoom[0];
  const reach = smooth <= 0 || !(span > 0) ? 0 : (kind === "mean" ? 0.5 : kind === "gaussian" ? 3 : 7) * smooth / span;
  return Math.min(4, Math.max(0.25, Math.ceil(reach * 4) / 4));
}
