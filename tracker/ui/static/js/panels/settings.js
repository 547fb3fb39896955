/**
 * What the view says of charts, as the loader and the chart take it. Pure functions.
 */
import { labelOfX } from "./axis.js";
import { marginFor } from "./frame.js";

/**
 * @typedef {import("../core/state.js").View} View
 * @typedef {import("./frame.js").Frame} Frame
 */

/**
 * @param {View} view
 * @param {string} x the axis that panels share
 * @returns {Frame}
 */
export function frameOf(view, x) {
  const zoom = view.linked ? view.zoom : null;
  return {
    x, low: zoom ? zoom[0] : null, high: zoom ? zoom[1] : null, log_x: view.logX,
    margin: marginFor(view.smooth, view.smoothKind, zoom), writers: view.writers === "apart" ? "apart" : "together",
  };
}

/**
 * The part of the frame in which a panel differs: a zoom of its own, or another x axis than most.
 * @param {View} view
 * @param {[number, number] | undefined} zoom
 * @param {{x: string, shared: boolean}} axis
 * @returns {Partial<Frame> | undefined}
 */
export function ownFrame(view, zoom, { x, shared }) {
  if (shared && (view.linked || !zoom)) return undefined;
  const margin = shared ? marginFor(view.smooth, view.smoothKind, zoom ?? null) : marginFor(0, "", zoom ?? null);
  return { x, low: zoom ? zoom[0] : null, high: zoom ? zoom[1] : null, margin };
}

/**
 * Options of a panel's chart. Smoothing is in the unit of the axis that panels share; a panel with another one is not smoothed.
 * @param {View} view
 * @param {string} key
 * @param {[number, number] | undefined} ownZoom
 * @param {{x: string, shared: boolean}} axis
 */
export function chartOptions(view, key, ownZoom, { x, shared }) {
  return {
    title: key, xLabel: labelOfX(x), xKind: axisKind(x), nameX: axisKind(x) === "number", logX: view.logX, logY: isLog(view, key),
    xRange: shared && view.linked ? view.zoom : ownZoom ?? null, yRange: view.yZoom[key] ?? null, smooth: shared ? view.smooth : 0, smoothKind: /** @type {any} */ (view.smoothKind),
    band: /** @type {"minmax" | "none"} */ (view.band === "none" ? "none" : "minmax"), outliers: view.outliers,
  };
}

/**
 * Kind of the chart's x axis.
 * @param {string} x
 * @returns {"step" | "relative" | "time" | "number"}
 */
export function axisKind(x) {
  return x === "step" || x === "relative" || x === "time" ? x : "number";
}

/**
 * Whether a panel's y axis is logarithmic.
 * @param {View} view
 * @param {string} key
 */
export function isLog(view, key) {
  return view.logY !== view.logPanels.includes(key);
}

/**
 * `list` without `item` if it was there, else with it.
 * @param {string[]} list
 * @param {string} item
 * @returns {string[]}
 */
export function toggled(list, item) {
  return list.includes(item) ? list.filter((one) => one !== item) : [...list, item];
}

/**
 * Zoom of the same width that ends at `end`, or null where the present one shows that already.
 * @param {[number, number]} zoom
 * @param {number} end
 * @returns {[number, number] | null}
 */
export function followed(zoom, end) {
  if (!(end > zoom[1])) return null;
  return [end - (zoom[1] - zoom[0]), end];
}
