/**
 * Columns that runs can be placed by: config, summary, fields of the run. Pure functions.
 */
import { MOST_CATEGORIES, varies } from "./axes.js";
import { numeric } from "./delta.js";

/**
 * @typedef {object} Column
 * @property {string} id "config.lr", "summary.loss", "run.duration"
 * @property {string} label
 * @property {string} group
 * @property {any[]} values one per run; null for none
 * @property {boolean} number
 * @property {"maximize" | "minimize" | null} goal
 * @property {import("../chart/ticks.js").AxisKind} kind how its numbers are written on an axis
 */

/** @type {Record<string, import("../chart/ticks.js").AxisKind>} */
const KINDS = { "run.duration": "relative", "run.start_time": "time", "run.step": "step", "run.points": "step" };

/**
 * @param {import("./rows.js").Answer} answer
 * @returns {Column[]} those that vary: config first, then summary, then fields
 */
export function columnsOf(answer) {
  /** @type {Column[]} */
  const columns = [];
  const add = (/** @type {string} */ group, /** @type {import("./delta.js").Row} */ row, /** @type {string} */ prefix) => {
    const missing = new Set(row.missing ?? []);
    const values = row.values.map((value, at) => (missing.has(at) ? null : value));
    if (!varies(values)) return;
    const present = values.filter((value) => value !== null);
    const isNumber = present.every((value) => numeric(value) !== null);
    if (!isNumber && new Set(present.map((value) => JSON.stringify(value))).size > MOST_CATEGORIES) return;
    columns.push({ id: `${prefix}.${row.key}`, label: row.key, group, values, number: isNumber, goal: row.goal ?? null, kind: KINDS[`${prefix}.${row.key}`] ?? "number" });
  };
  for (const row of answer.config) add("Config", row, "config");
  for (const row of answer.summary) if (row.values.some((value) => numeric(value) !== null)) add("Summary", row, "summary");
  for (const key of ["duration", "step", "start_time", "points"]) {
    add("Run", { key, values: answer.runs.map((run) => run[key] ?? null), differs: true }, "run");
  }
  return columns;
}

/**
 * Axes to begin with: what differs in the config, then the metrics with a goal.
 * @param {Column[]} columns
 * @param {number} most
 * @returns {string[]} ids
 */
export function defaultAxes(columns, most = 7) {
  const config = columns.filter((column) => column.group === "Config");
  const goals = columns.filter((column) => column.group === "Summary" && column.goal);
  const metrics = goals.length ? goals : columns.filter((column) => column.group === "Summary");
  const results = metrics.slice(0, config.length ? 2 : most);
  return [...config.slice(0, most - results.length), ...results].map((column) => column.id);
}

/**
 * The two columns of the scatter to begin with: the first number of the config, and the first metric with a goal.
 * @param {Column[]} columns
 * @returns {{x: string, y: string}}
 */
export function defaultPair(columns) {
  const config = columns.find((column) => column.group === "Config" && column.number) ?? columns.find((column) => column.group === "Config");
  const metrics = columns.filter((column) => column.group === "Summary");
  const y = metrics.find((column) => column.goal) ?? metrics[0] ?? columns.find((column) => column !== config);
  const x = config ?? metrics.find((column) => column !== y) ?? columns.find((column) => column !== y);
  return { x: x?.id ?? "", y: y?.id ?? "" };
}
