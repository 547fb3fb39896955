/**
 * Lines of a panel: what the loader brought, as the chart takes it. Runs of a group become one line with a band.
 */

import { groupLine } from "../chart/aggregate.js";

/**
 * @typedef {import("../core/api.js").Series} Series
 * @typedef {import("../chart/series.js").Line} Line
 * @typedef {import("./groups.js").Group} Group
 *
 * @typedef {object} LineContext
 * @property {Group[]} groups
 * @property {(id: string) => {css: string, dash: number[]}} colorOf of a run or a group
 * @property {(ref: string) => string} nameOf
 * @property {boolean} apart whether writers of a run are lines of their own
 * @property {string} band "minmax", "std", "sem", "ci95" or "none"
 * @property {boolean} logX
 * @property {number} smooth
 * @property {string} smoothKind
 */

/**
 * @param {Series[]} series
 * @param {LineContext} context
 * @returns {Line[]}
 */
export function makeLines(series, context) {
  /** @type {Map<string, Series[]>} */
  const byRun = new Map();
  for (const one of series) {
    const list = byRun.get(one.run);
    if (list) list.push(one);
    else byRun.set(one.run, [one]);
  }
  /** @type {Line[]} */
  const lines = [];
  for (const group of context.groups) {
    const members = group.runs.filter((run) => byRun.has(run));
    if (!members.length) continue;
    if (group.runs.length === 1) lines.push(...runLines(group, members[0], /** @type {Series[]} */ (byRun.get(members[0])), context));
    else lines.push(folded(group, members.map((run) => /** @type {Series[]} */ (byRun.get(run))), context));
  }
  return lines;
}

/** Dashes of a run's writers, so that they can be told apart though they have the run's colour. */
const WRITER_DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];

/**
 * Lines of a run: one, or one for each writer where they are shown apart.
 * @param {Group} group
 * @param {string} run
 * @param {Series[]} series
 * @param {LineContext} context
 * @returns {Line[]}
 */
function runLines(group, run, series, context) {
  const { css, dash } = context.colorOf(group.id);
  if (series.length === 1) return [{ id: group.id, run: group.id, label: group.label, color: css, dash, series: series[0] }];
  if (!context.apart) {
    const { members, runs, names, ...line } = folded(group, [series], { ...context, band: context.band === "none" ? "none" : "minmax" });
    return [line];
  }
  return series.map((one, i) => ({
    id: `${run}\n${one.writer}`, run: group.id, label: `${group.label} · ${one.label ?? `writer ${i + 1}`}`, color: css, dash: WRITER_DASHES[i % WRITER_DASHES.length], series: one,
  }));
}

/** Maximum number of intervals of a group's line. */
const MOST_INTERVALS = 4000;

/**
 * One line for a group of runs.
 * @param {Group} group
 * @param {Series[][]} runs
 * @param {LineContext} context
 * @returns {Line}
 */
function folded(group, runs, { colorOf, nameOf, band, logX, smooth, smoothKind }) {
  const { css, dash } = colorOf(group.id);
  let low = Infinity, high = -Infinity, count = 1;
  for (const { x0, x1 } of runs.flat()) {
    if (!x0.length) continue;
    low = Math.min(low, logX ? x0.find((x) => x > 0) ?? Infinity : x0[0]);
    high = Math.max(high, x1[x1.length - 1]);
    count = Math.max(count, x0.length);
  }
  const grid = { low, high, count: Math.min(count, MOST_INTERVALS), logX };
  const line = { id: group.id, run: group.id, label: group.label, color: css, dash, names: group.runs.map(nameOf) };
  return groupLine(line, runs, { grid, band: /** @type {any} */ (band), smooth, smoothKind: /** @type {any} */ (smoothKind) });
}

/**
 * What a panel's foot says: points, values that are not finite.
 * @param {Series[]} series
 * @param {[number, number] | null} [range] of x, where it is zoomed
 * @returns {{points: number, inRange: number | null, raw: boolean, nan: number, infinite: number, finite: boolean}}
 *   `points`: of whole series; `inRange`: about how many of them are in the range; the others: of the range
 */
export function countPoints(series, range = null) {
  let points = 0, inRange = 0, nan = 0, infinite = 0, finite = false, raw = true;
  for (const one of series) {
    points += one.total;
    if (!one.raw || one.x0.length < one.total) raw = raw && one.raw;
    for (let i = 0; i < one.bad.length; i++) {
      const middle = (one.x0[i] + one.x1[i]) / 2;
      if (range && !(middle >= range[0] && middle <= range[1])) continue;
      const bad = one.bad[i];
      inRange += one.raw ? 1 : one.n[i] + bad;
      if (!bad) finite = true;
      else if (!one.raw) {
        nan += bad;
        if (one.n[i] > 0) finite = true;
      } else if (bad === 1) nan += 1;
      else infinite += 1;
    }
  }
  return { points, inRange: range && inRange, raw, nan, infinite, finite };
}

/**
 * The value of a series at an x: of the bucket that holds it, else of the nearest before it, else null. Without an x: the last one.
 * @param {import("../chart/series.js").Series} series
 * @param {number | null} x
 * @returns {number | null}
 */
export function valueAt(series, x) {
  const { x0, mean } = series;
  let end = x0.length;
  if (x !== null) {
    let first = 0;
    while (first < end) {
      const middle = (first + end) >> 1;
      if (x0[middle] <= x) first = middle + 1;
      else end = middle;
    }
    end = first;
    const x1 = series.x1 ?? x0;
    if (end === x0.length && end > 0 && x > x1[end - 1]) return null;
  }
  return end > 0 ? mean[end - 1] : null;
}
