/**
 * Differences of values from a baseline, and which of them are better. Pure functions.
 */

import { shorten } from "../core/format.js";

/** Longest name of a run in a sentence. */
const LONGEST_NAME = 48;

/**
 * @typedef {object} Delta
 * @property {number} absolute value − baseline
 * @property {number | null} percent of the baseline's size; null where the baseline is 0
 * @property {"better" | "worse" | "same" | "unknown"} verdict by the metric's goal
 *
 * @typedef {object} Row A key with a value for each run.
 * @property {string} key
 * @property {any[]} values
 * @property {boolean} differs
 * @property {number[]} [missing] indexes of the runs that do not have the key
 * @property {"maximize" | "minimize" | null} [goal]
 * @property {string | null} [aggregate]
 * @property {number[]} [best] indexes of the best values
 */

/**
 * A value of the API as a number: NaN and infinities travel as strings.
 * @param {any} value
 * @returns {number | null} null if it is not a number
 */
export function numeric(value) {
  if (typeof value === "number") return value;
  if (value === "NaN") return NaN;
  if (value === "Infinity") return Infinity;
  return value === "-Infinity" ? -Infinity : null;
}

/**
 * @param {any} value
 * @param {any} baseline
 * @param {"maximize" | "minimize" | null | undefined} goal
 * @returns {Delta | null} null if one of them is not a finite number
 */
export function delta(value, baseline, goal) {
  const one = numeric(value);
  const other = numeric(baseline);
  if (one === null || other === null || !Number.isFinite(one) || !Number.isFinite(other)) return null;
  const absolute = one - other;
  const percent = other === 0 ? null : (absolute / Math.abs(other)) * 100;
  return { absolute, percent, verdict: verdict(absolute, goal) };
}

/**
 * @param {number} absolute
 * @param {"maximize" | "minimize" | null | undefined} goal
 * @returns {Delta["verdict"]}
 */
function verdict(absolute, goal) {
  if (absolute === 0) return "same";
  if (goal !== "maximize" && goal !== "minimize") return "unknown";
  return absolute > 0 === (goal === "maximize") ? "better" : "worse";
}

/**
 * A percentage, short and with its sign: +12.3 %, −0.05 %, ×40 beyond a thousand.
 * @param {number | null} percent
 * @returns {string}
 */
export function percentText(percent) {
  if (percent === null || !Number.isFinite(percent)) return "";
  if (percent >= 1000) return `×${round(percent / 100 + 1)}`;
  const sign = percent > 0 ? "+" : percent < 0 ? "\u2212" : "";
  return `${sign}${round(Math.abs(percent))} %`;
}

/** @param {number} size */
function round(size) {
  if (size === 0) return "0";
  if (size < 0.01) return "<0.01";
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return String(Number(size.toFixed(digits)));
}

/**
 * The order of runs by a row: numbers ascending, then text, then runs without a value.
 * @param {Row} row
 * @param {boolean} descending
 * @returns {number[]} indexes of the runs
 */
export function orderBy(row, descending) {
  const missing = new Set(row.missing ?? []);
  const indexes = row.values.map((_, index) => index);
  const has = (/** @type {number} */ index) => !missing.has(index) && !Number.isNaN(numeric(row.values[index]) ?? 0);
  return indexes.sort((a, b) => {
    if (has(a) !== has(b)) return has(a) ? -1 : 1;
    if (!has(a)) return a - b;
    const order = compareValues(row.values[a], row.values[b]);
    return (descending ? -order : order) || a - b;
  });
}

/**
 * @param {any} a
 * @param {any} b
 * @returns {number}
 */
function compareValues(a, b) {
  const one = numeric(a);
  const other = numeric(b);
  if (one !== null && other !== null) return one === other ? 0 : one < other ? -1 : 1;
  if (one !== null || other !== null) return one !== null ? -1 : 1;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

/**
 * The rows whose key or values have all words of a search.
 * @template {Row} R
 * @param {R[]} rows
 * @param {string} search
 * @returns {R[]}
 */
export function searchRows(rows, search) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return rows;
  return rows.filter((row) => {
    const text = `${row.key} ${row.values.map((value) => (typeof value === "object" ? JSON.stringify(value) : String(value))).join(" ")}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

/**
 * What differs between two runs, in a sentence.
 * @param {Row[]} config rows that differ
 * @param {string} one name of the first run
 * @param {string} other name of the second
 * @returns {string}
 */
export function sentence(config, one, other) {
  [one, other] = [shorten(one, [other], LONGEST_NAME), shorten(other, [one], LONGEST_NAME)];
  const differing = config.filter((row) => row.differs);
  if (!differing.length) return `${one} and ${other} have the same configuration.`;
  const named = differing.slice(0, 3).map((row) => `${row.key} (${short(row, 0)} and ${short(row, 1)})`);
  const rest = differing.length - named.length;
  const list = rest > 0 ? `${named.join(", ")} and ${rest} more ${rest === 1 ? "key" : "keys"}` : joined(named);
  return `${one} and ${other} differ in ${list}.`;
}

/**
 * @param {Row} row
 * @param {number} index
 */
function short(row, index) {
  if (row.missing?.includes(index)) return "not set";
  const value = row.values[index];
  const text = typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
  return text.length > 40 ? `${text.slice(0, 39)}…` : text;
}

/** @param {string[]} items */
function joined(items) {
  return items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`;
}
