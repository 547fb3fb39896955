/**
 * Two axes around a plot: where the plot lies, its grid, ticks and labels, none cut and none over another. Pure.
 */
import { createScale } from "./scale.js";
import { ticksFor } from "./ticks.js";

/**
 * @typedef {import("./canvas.js").Surface} Surface
 * @typedef {import("./theme.js").Theme} Theme
 *
 * @typedef {object} Rect
 * @property {number} left
 * @property {number} top
 * @property {number} right
 * @property {number} bottom
 *
 * @typedef {object} AxisSetting
 * @property {import("./ticks.js").AxisKind} kind
 * @property {boolean} log
 * @property {[number, number]} range
 *
 * @typedef {object} Axes
 * @property {number} width
 * @property {number} height
 * @property {Rect} plot
 * @property {import("./scale.js").Scale} x
 * @property {import("./scale.js").Scale} y
 * @property {import("./ticks.js").Ticks} xTicks
 * @property {import("./ticks.js").Ticks} yTicks
 */

const LABEL_SIZE = 11;
const X_LABELS = 17;
const RIGHT = 8;
const TOP = 8;
const MOST_Y_TICKS = 6;
const MOST_X_TICKS = 12;
/** Least distance of ticks of the x axis, in CSS pixels. */
const LEAST_DISTANCE = 40;
/** Least space between their labels. */
const LABEL_GAP = 16;
/** Least width of the labels of the y axis, so that most panels' plots line up. */
const GUTTER = 34;

/**
 * @param {AxisSetting} xAxis
 * @param {AxisSetting} yAxis
 * @param {number} width
 * @param {number} height
 * @param {number} below Space between the plot and its x labels.
 * @param {(text: string, size: number) => number} measure
 * @returns {Axes}
 */
export function layoutAxes(xAxis, yAxis, width, height, below, measure) {
  const bottom = Math.max(TOP + 20, height - X_LABELS - below);
  const most = Math.max(2, Math.min(MOST_Y_TICKS, Math.floor((bottom - TOP) / 26)));
  const yTicks = ticksFor(yAxis.kind, yAxis.log, yAxis.range[0], yAxis.range[1], most);
  const widest = Math.max(0, ...yTicks.labels.map((text) => measure(text, LABEL_SIZE)));
  const left = Math.min(Math.max(GUTTER, Math.ceil(widest) + 8), Math.max(GUTTER, width / 2));
  const plot = { left, top: TOP, right: Math.max(left + 20, width - RIGHT), bottom };
  return {
    width, height, plot, yTicks,
    x: createScale(xAxis.log ? "log" : "linear", xAxis.range[0], xAxis.range[1], plot.left, plot.right),
    y: createScale(yAxis.log ? "log" : "linear", yAxis.range[0], yAxis.range[1], plot.bottom, plot.top),
    xTicks: ticksThatFit(xAxis, plot.right - plot.left, measure),
  };
}

/**
 * As many ticks as there is room for their labels.
 * @param {AxisSetting} axis
 * @param {number} length
 * @param {(text: string, size: number) => number} measure
 */
function ticksThatFit({ kind, log, range }, length, measure) {
  let most = Math.min(MOST_X_TICKS, Math.max(2, Math.floor(length / LEAST_DISTANCE)));
  for (;;) {
    const ticks = ticksFor(kind, log, range[0], range[1], most);
    const widest = Math.max(0, ...ticks.labels.map((text) => measure(text, LABEL_SIZE)));
    const room = length / Math.max(1, ticks.values.length);
    if (most <= 2 || room >= widest + LABEL_GAP) return ticks;
    most = Math.min(most, ticks.values.length) - 1;
  }
}

/**
 * @param {Surface} surface
 * @param {Axes} axes
 * @param {Theme} theme
 * @param {number} below
 */
export function drawGrid(surface, axes, theme, below) {
  const { plot, x, y, xTicks, yTicks } = axes;
  const style = { color: theme.grid };
  for (const value of yTicks.values) {
    const at = y.at(value);
    if (at >= plot.top - 1 && at <= plot.bottom + 1) surface.rule(plot.left, at, plot.right, at, style);
  }
  for (const value of xTicks.values) {
    const at = x.at(value);
    if (at >= plot.left - 1 && at <= plot.right + 1) surface.rule(at, plot.bottom, at, plot.bottom + below + 3, { color: theme.line });
  }
  surface.rule(plot.left, plot.bottom, plot.right, plot.bottom, { color: theme.line });
}

/**
 * @param {Surface} surface
 * @param {Axes} axes
 * @param {Theme} theme
 * @param {number} below
 */
export function drawLabels(surface, axes, theme, below) {
  const { plot, width, x, y, xTicks, yTicks } = axes;
  yTicks.values.forEach((value, i) => {
    const at = y.at(value);
    if (at < plot.top - 1 || at > plot.bottom + 1) return;
    surface.text(yTicks.labels[i], plot.left - 6, Math.min(at, plot.bottom - 3), { color: theme.muted, align: "right" });
  });
  const base = plot.bottom + below + 10;
  let taken = 0;
  if (xTicks.note) {
    surface.text(xTicks.note, 2, base, { color: theme.muted });
    taken = 2 + surface.measure(xTicks.note, 11) + 6;
  }
  xTicks.values.forEach((value, i) => {
    const at = x.at(value);
    if (at < plot.left - 1 || at > plot.right + 1) return;
    const half = surface.measure(xTicks.labels[i], 11) / 2;
    const middle = Math.min(Math.max(at, half + 1), width - half - 1);
    if (middle - half < taken) return;
    taken = middle + half + 8;
    surface.text(xTicks.labels[i], middle, base, { color: theme.muted, align: "center" });
  });
  if (yTicks.note) surface.text(yTicks.note, Math.min(plot.left + 3, width - surface.measure(yTicks.note, 10) - 2), plot.top + 1, { color: theme.muted, size: 10, halo: theme.surface });
}
