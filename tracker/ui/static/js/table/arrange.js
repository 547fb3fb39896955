/**
 * Filter, order and group rows of a table in columns. Pure; rows are numbers.
 */
import { groupId } from "../core/groupkey.js";
import { passes } from "./conditions.js";

/**
 * @typedef {import("./conditions.js").Condition} Condition
 * @typedef {Map<string, any[]>} Columns
 * @typedef {{column: string, descending: boolean}} SortKey
 *
 * @typedef {object} Group
 * @property {string} key tells groups apart
 * @property {any[]} values of the columns grouped by
 * @property {number[]} rows
 *
 * @typedef {{n: number, mean: number, std: number}} Spread of the finite values; std of the sample, NaN for one value
 */

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/**
 * @param {string} text "-start_time,name"
 * @returns {SortKey[]}
 */
export function parseSort(text) {
  return text.split(",").filter((part) => part !== "" && part !== "-").map((part) => ({
    column: (part.startsWith("-") ? part.slice(1) : part).replaceAll("\\c", ",").replaceAll("\\b", "\\"), descending: part.startsWith("-"),
  }));
}

/**
 * @param {SortKey[]} keys
 * @returns {string}
 */
export function formatSort(keys) {
  return keys.map(({ column, descending }) => (descending ? "-" : "") + column.replaceAll("\\", "\\b").replaceAll(",", "\\c")).join(",");
}

/**
 * Rows that pass everything.
 * @param {number} size rows of the table
 * @param {Columns} columns
 * @param {[string, Condition][]} conditions
 * @param {(row: number) => boolean} [also]
 * @returns {number[]}
 */
export function filterRows(size, columns, conditions, also) {
  const tests = conditions.map(([name, condition]) => /** @type {const} */ ([columns.get(name), condition]));
  const result = [];
  for (let row = 0; row < size; row += 1) {
    if (also && !also(row)) continue;
    if (tests.every(([values, condition]) => passes(condition, values?.[row] ?? null))) result.push(row);
  }
  return result;
}

/** Numbers first, NaN behind them, then text; missing values are always last. @param {any} value */
function rank(value) {
  if (value === null || value === undefined || (Array.isArray(value) && value.length === 0)) return 3;
  if (typeof value === "number") return Number.isNaN(value) ? 1 : 0;
  return 2;
}

/**
 * @param {any} a
 * @param {any} b
 * @param {boolean} descending
 * @returns {number}
 */
export function compareValues(a, b, descending) {
  const [first, second] = [rank(a), rank(b)];
  if (first !== second) return first - second;
  let order = 0;
  if (first === 0) order = a === b ? 0 : a - b;
  else if (first === 2) order = collator.compare(plain(a), plain(b));
  return descending ? -order : order;
}

/**
 * @param {Columns} columns
 * @param {SortKey[]} keys
 * @returns {(a: number, b: number) => number} compares rows; equal ones keep the order of the table
 */
export function comparer(columns, keys) {
  const parts = keys.map(({ column, descending }) => ({ values: columns.get(column) ?? [], descending }));
  return (a, b) => {
    for (const { values, descending } of parts) {
      const order = compareValues(values[a], values[b], descending);
      if (order) return order;
    }
    return a - b;
  };
}

/**
 * @param {number[]} rows
 * @param {Columns} columns
 * @param {SortKey[]} keys
 * @returns {number[]} the same rows in order
 */
export function sortRows(rows, columns, keys) {
  const parts = keys.map(({ column, descending }) => ({ ...codes(columns.get(column) ?? []), descending }));
  return [...rows].sort((a, b) => {
    for (const { ranks, numbers, descending } of parts) {
      const order = /** @type {number} */ (ranks[a]) - /** @type {number} */ (ranks[b])
        || (descending ? /** @type {number} */ (numbers[b]) - /** @type {number} */ (numbers[a]) : /** @type {number} */ (numbers[a]) - /** @type {number} */ (numbers[b]));
      if (order) return order;
    }
    return a - b;
  });
}

/** @type {WeakMap<any[], {ranks: Uint8Array, numbers: Float64Array}>} */
const known = new WeakMap();

/**
 * Values as numbers that order as they do: comparing text is slow, so each different text gets its place once.
 * @param {any[]} values
 */
function codes(values) {
  const before = known.get(values);
  if (before) return before;
  const size = values.length;
  const ranks = new Uint8Array(size).fill(3);
  const numbers = new Float64Array(size);
  /** @type {Map<string, number>} */
  const texts = new Map();
  for (let row = 0; row < size; row += 1) {
    const value = values[row];
    const kind = rank(value);
    ranks[row] = kind;
    if (kind === 0) numbers[row] = Number.isFinite(value) ? value : Math.sign(value) * Number.MAX_VALUE;
    else if (kind === 2) texts.set(plain(value), 0);
  }
  if (texts.size) {
    inOrder([...texts.keys()]).forEach((text, at) => texts.set(text, at));
    for (let row = 0; row < size; row += 1) if (ranks[row] === 2) numbers[row] = texts.get(plain(values[row])) ?? 0;
  }
  const result = { ranks, numbers };
  known.set(values, result);
  return result;
}

/**
 * Texts in order, numbers in them by their value. Most names are plain ASCII, which is compared far faster without a collator.
 * @param {string[]} texts
 * @returns {string[]}
 */
function inOrder(texts) {
  if (!texts.every((text) => /^[\x20-\x7e]*$/.test(text))) return texts.sort(collator.compare);
  const keys = texts.map((text) => ({ text, key: text.toLowerCase().replace(/\d+/g, (digits) => digits.replace(/^0+(?=\d)/, "").padStart(24, "0")) }));
  return keys.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)).map((one) => one.text);
}

/** @param {any} value */
function plain(value) {
  return Array.isArray(value) ? value.join() : String(value);
}

/**
 * Put new rows into an order without moving the others, though values have changed since.
 * @param {number[]} order
 * @param {number[]} fresh
 * @param {(a: number, b: number) => number} compare
 * @returns {number[]}
 */
export function insertRows(order, fresh, compare) {
  const result = [...order];
  for (const row of [...fresh].sort(compare)) {
    const at = result.findIndex((other) => compare(row, other) < 0);
    if (at < 0) result.push(row);
    else result.splice(at, 0, row);
  }
  return result;
}

/**
 * Groups in the order of their first row.
 * @param {number[]} rows
 * @param {Columns} columns
 * @param {string[]} by
 * @returns {Group[]}
 */
export function groupRows(rows, columns, by) {
  const parts = by.map((name) => columns.get(name) ?? []);
  /** @type {Map<string, Group>} */
  const groups = new Map();
  for (const row of rows) {
    const values = parts.map((column) => column[row] ?? null);
    const key = groupId(values);
    const group = groups.get(key);
    if (group) group.rows.push(row);
    else groups.set(key, { key, values, rows: [row] });
  }
  return [...groups.values()];
}

/**
 * Mean and standard deviation of the finite values of some rows.
 * @param {number[]} rows
 * @param {any[]} values
 * @returns {Spread}
 */
export function spread(rows, values) {
  let n = 0;
  let mean = 0;
  let squares = 0;
  for (const row of rows) {
    const value = values[row];
    if (typeof value !== "number" || !Number.isFinite(value)) continue;
    n += 1;
    const off = value - mean;
    mean += off / n;
    squares += off * (value - mean);
  }
  return { n, mean: n ? mean : NaN, std: n > 1 ? Math.sqrt(squares / (n - 1)) : NaN };
}

/**
 * How often each value occurs, most frequent first; a list counts for each of its items.
 * @param {number[]} rows
 * @param {any[]} values
 * @returns {[any, number][]} null for missing
 */
export function tally(rows, values) {
  /** @type {Map<any, number>} */
  const counts = new Map();
  for (const row of rows) {
    const value = values[row] ?? null;
    for (const one of Array.isArray(value) ? (value.length ? value : [null]) : [value]) counts.set(one, (counts.get(one) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1] || compareValues(a[0], b[0], false));
}
