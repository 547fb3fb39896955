/**
 * The x axis and the smoothing of the charts page in words and numbers: choices, units, the slider's scale. Pure functions.
 */
import { count, plural } from "../core/format.js";

/** Choices of x that every run has. */
export const X_CHOICES = [
  { value: "step", label: "Step" },
  { value: "relative", label: "Relative time" },
  { value: "time", label: "Wall time" },
];

/** Each metric over its own step metric, where it has one. */
export const AUTO = "auto";

/**
 * The x axis of a metric's panel: what the user chose, else the step metric that `define_metric` names, else the step.
 * @param {string} x as in the view
 * @param {string} key
 * @param {Iterable<{key: string, step_metric?: string | null}>} infos
 * @returns {string} "step", "relative", "time" or "metric:KEY"
 */
export function xOfPanel(x, key, infos) {
  if (x !== AUTO) return x;
  for (const one of infos) if (one.key === key) return xOfMetric(one);
  return "step";
}

/**
 * The x axis of a metric for which the user chose none.
 * @param {{key: string, step_metric?: string | null}} info
 * @returns {string} "step" or "metric:KEY"
 */
export function xOfMetric({ key, step_metric }) {
  return step_metric && step_metric !== key ? `metric:${step_metric}` : "step";
}

/**
 * The x axis that panels share: zoom, cursor and smoothing are in its unit. A step metric only where all metrics have the same.
 * @param {string} x as in the view
 * @param {Iterable<{key: string, kind?: string, step_metric?: string | null}>} infos
 * @returns {string}
 */
export function mainX(x, infos) {
  if (x !== AUTO) return x;
  const numbers = [...infos].filter((one) => !one.kind || one.kind === "number");
  const steps = new Set(numbers.map((one) => one.step_metric));
  const found = new Set(numbers.filter((one) => !steps.has(one.key)).map(xOfMetric));
  return found.size === 1 ? /** @type {string} */ ([...found][0]) : "step";
}

export const SMOOTH_KINDS = [
  { value: "ema", label: "Exponential", noun: "half-life" },
  { value: "gaussian", label: "Gaussian", noun: "half width" },
  { value: "mean", label: "Running mean", noun: "window" },
];

export const BANDS = [
  { value: "minmax", label: "Min–max" },
  { value: "std", label: "Standard deviation" },
  { value: "sem", label: "Standard error" },
  { value: "ci95", label: "95 % interval" },
  { value: "none", label: "None" },
];

/** Positions of the smoothing slider; 0 is off. */
export const SLIDER_MAX = 100;

/**
 * Label of an x axis: "Step", "Relative time", "epoch".
 * @param {string} x
 * @returns {string}
 */
export function labelOfX(x) {
  return X_CHOICES.find((choice) => choice.value === x)?.label ?? x.replace(/^metric:/, "");
}

/**
 * Unit of lengths on an x axis: "steps", "s", or the metric's name.
 * @param {string} x
 * @returns {string}
 */
export function unitOfX(x) {
  if (x === "step") return "steps";
  return x === "relative" || x === "time" ? "s" : x.replace(/^metric:/, "");
}

/**
 * The axis after `x` in the cycle of the `x` key: automatic where that makes a difference, step, relative, wall time, then the metrics that others are defined over.
 * @param {string} x
 * @param {string[]} stepMetrics
 * @returns {string}
 */
export function nextX(x, stepMetrics) {
  const cycle = [...(stepMetrics.length ? [AUTO] : []), ...X_CHOICES.map((choice) => choice.value), ...stepMetrics.map((key) => `metric:${key}`)];
  return cycle[(cycle.indexOf(x === AUTO && !stepMetrics.length ? "step" : x) + 1) % cycle.length];
}

/**
 * Smallest and largest half-life on the slider for data that spans `span` units of x: three decades that end at half of the span, rounded up to a power of ten so that the slider does not move while a run grows.
 * @param {number} span
 * @returns {[number, number]}
 */
export function smoothRange(span) {
  const high = 10 ** Math.ceil(Math.log10(span > 0 && Number.isFinite(span) ? span : 1000)) / 2;
  return [high / 1000, high];
}

/**
 * @param {number} position 0 to SLIDER_MAX
 * @param {number} span
 * @returns {number} two significant digits
 */
export function smoothAt(position, span) {
  if (position <= 0) return 0;
  const [low, high] = smoothRange(span);
  return Number((low * (high / low) ** ((position - 1) / (SLIDER_MAX - 1))).toPrecision(2));
}

/**
 * @param {number} smooth
 * @param {number} span
 * @returns {number} position of the slider, 0 to SLIDER_MAX
 */
export function sliderOf(smooth, span) {
  if (!(smooth > 0)) return 0;
  const [low, high] = smoothRange(span);
  const share = Math.log(smooth / low) / Math.log(high / low);
  return Math.max(1, Math.min(SLIDER_MAX, Math.round(1 + share * (SLIDER_MAX - 1))));
}

/**
 * "half-life 500 steps", "window 20 s", "off".
 * @param {number} smooth
 * @param {string} kind
 * @param {string} x
 * @returns {string}
 */
export function describeSmoothing(smooth, kind, x) {
  if (!(smooth > 0)) return "off";
  const noun = SMOOTH_KINDS.find((choice) => choice.value === kind)?.noun ?? "half-life";
  return `${noun} ${smooth.toLocaleString("en-US", { maximumSignificantDigits: 6 })} ${unitOfX(x)}`;
}

/**
 * Buckets of a panel: at most one for each CSS pixel of its plot, in steps, so that a small change of width asks for nothing new.
 * @param {number} width CSS pixels
 * @returns {number}
 */
export function bucketCount(width) {
  return Math.max(32, Math.min(4000, Math.floor(width / 16) * 16));
}

/** Number of points from which a panel says that none is left out: people doubt it only where there are many. */
const MANY = 10_000;

/**
 * What a panel says about its points.
 * @param {number} points
 * @param {boolean} raw whether each is drawn by itself
 * @param {number | null} [inRange] about how many of them are in the range of a zoom; null: all
 * @returns {string}
 */
export function describePoints(points, raw, inRange = null) {
  if (points === 0) return "";
  if (inRange !== null && inRange < points) {
    const part = raw ? plural(inRange, "point") : `${count(inRange)} points`;
    return `${part} in this range${raw || inRange < MANY ? "" : ", all drawn"}`;
  }
  const total = points.toLocaleString("en-US");
  if (points === 1) return "1 point";
  return raw || points < MANY ? `${total} points` : `${total} points, all drawn`;
}
