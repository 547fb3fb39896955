/**
 * A small curve without axes, from buckets: the band from the smallest to the largest value, and the mean. The functions on
 * numbers are pure.
 */
import { svg } from "../core/dom.js";

const WIDTH = 120;
const HEIGHT = 22;
const INSET = 1.5;

/** @typedef {import("../core/decode.js").Series} Series */

/**
 * The smallest, the largest and the last value of a metric, exact: buckets have every value.
 * @param {Series[]} lines
 * @returns {{low: number, high: number, last: number, bad: number} | null} `bad`: how many are not finite; null without values
 */
export function statistics(lines) {
  let low = Infinity;
  let high = -Infinity;
  let last = NaN;
  let lastX = -Infinity;
  let some = false;
  let bad = 0;
  for (const line of lines) {
    for (let at = 0; at < line.x0.length; at += 1) {
      some = true;
      bad += line.raw ? Number(line.bad[at] !== 0) : /** @type {number} */ (line.bad[at]);
      low = Math.min(low, Number.isFinite(line.low[at]) ? /** @type {number} */ (line.low[at]) : Infinity);
      high = Math.max(high, Number.isFinite(line.high[at]) ? /** @type {number} */ (line.high[at]) : -Infinity);
      const x = /** @type {number} */ (line.x1[at]);
      if (x >= lastX) {
        lastX = x;
        last = /** @type {number} */ (line.last[at]);
      }
    }
  }
  if (!some) return null;
  return low <= high ? { low, high, last, bad } : { low: NaN, high: NaN, last, bad };
}

/**
 * The shapes of a curve in a box: the outline of its band, and its line.
 * @param {Series} line
 * @param {{x: [number, number], y: [number, number]}} range
 * @param {{width: number, height: number}} box
 * @returns {{band: string, line: string}} paths
 */
export function paths(line, range, box) {
  const scaleX = (/** @type {number} */ x) => (range.x[1] > range.x[0] ? ((x - range.x[0]) / (range.x[1] - range.x[0])) * box.width : box.width / 2);
  const room = box.height - 2 * INSET;
  const scaleY = (/** @type {number} */ y) => (range.y[1] > range.y[0] ? INSET + (1 - (y - range.y[0]) / (range.y[1] - range.y[0])) * room : box.height / 2);
  const round = (/** @type {number} */ n) => String(Math.round(n * 10) / 10);
  let path = "";
  /** @type {string[]} */
  const top = [];
  /** @type {string[]} */
  const bottom = [];
  let pen = "M";
  for (let at = 0; at < line.x0.length; at += 1) {
    const mean = /** @type {number} */ (line.mean[at]);
    if (!Number.isFinite(mean)) {
      pen = "M";
      continue;
    }
    const x = round(scaleX((/** @type {number} */ (line.x0[at]) + /** @type {number} */ (line.x1[at])) / 2));
    path += `${pen}${x} ${round(scaleY(mean))}`;
    pen = "L";
    top.push(`${x} ${round(scaleY(/** @type {number} */ (line.high[at])))}`);
    bottom.push(`${x} ${round(scaleY(/** @type {number} */ (line.low[at])))}`);
  }
  const band = line.raw || top.length < 2 ? "" : `M${top.join("L")}L${bottom.reverse().join("L")}Z`;
  return { band, line: top.length === 1 ? `${path}h0.01` : path };
}

/**
 * @param {Series[]} lines
 * @param {string} color
 * @param {string} label
 * @returns {SVGElement}
 */
export function sparkline(lines, color, label) {
  const stats = statistics(lines);
  const host = svg("svg", { class: "sparkline", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", preserveAspectRatio: "none", "aria-label": `Curve of ${label}` });
  if (!stats || !Number.isFinite(stats.low)) return host;
  let first = Infinity;
  let last = -Infinity;
  for (const line of lines) {
    first = Math.min(first, line.x0[0] ?? Infinity);
    last = Math.max(last, line.x1.at(-1) ?? -Infinity);
  }
  for (const line of lines) {
    const shape = paths(line, { x: [first, last], y: [stats.low, stats.high] }, { width: WIDTH, height: HEIGHT });
    if (shape.band) host.append(svg("path", { d: shape.band, fill: color, "fill-opacity": "0.22", stroke: color, "stroke-opacity": "0.55", "stroke-width": "0.7", "vector-effect": "non-scaling-stroke" }));
    host.append(svg("path", { d: shape.line, fill: "none", stroke: color, "stroke-width": "1.2", "stroke-linejoin": "round", "stroke-linecap": "round", "vector-effect": "non-scaling-stroke" }));
  }
  return host;
}
