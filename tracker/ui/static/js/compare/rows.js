/**
 * The rows of the comparison: sections of keys with a value for each run, as text for the page and for copying. Pure functions.
 */
import { ago, duration, exact, moment, number, shorten, whole } from "../core/format.js";
import { delta, numeric, percentText } from "./delta.js";

/**
 * @typedef {import("./delta.js").Row} Row
 * @typedef {{ref: string, id: string, name: string, state: string, [name: string]: any}} ComparedRun
 *
 * @typedef {object} Answer the answer of `POST compare`
 * @property {string} baseline
 * @property {number} now
 * @property {ComparedRun[]} runs
 * @property {Row[]} config
 * @property {Row[]} environment
 * @property {Row[]} summary
 * @property {{config: number, environment: number, summary: number}} counts
 * @property {string[]} shared
 * @property {number} left_out
 * @property {{ref: string, message: string}[]} gone
 *
 * @typedef {object} Section
 * @property {string} id
 * @property {string} title
 * @property {Row[]} rows
 * @property {number} total rows before those that do not differ were left out
 */

/** Longest text of a cell on the page. */
const LONGEST = 36;

/** @type {[string, (run: ComparedRun, now: number) => any][]} */
const FIELDS = [
  ["state", (run) => run.state], ["reason", (run) => run.reason], ["project", (run) => run.project], ["group", (run) => run.group], ["job type", (run) => run.job_type],
  ["tags", (run) => (run.tags?.length ? run.tags.join(", ") : null)], ["notes", (run) => run.notes], ["started", (run) => run.start_time],
  ["duration", (run) => run.duration], ["step", (run) => run.step], ["log calls", (run) => run.records], ["points", (run) => run.points],
];

/**
 * The sections of the table.
 * @param {Answer} answer of a request with `all`
 * @param {boolean} everything also what is the same in all runs
 * @returns {Section[]}
 */
export function sectionsOf(answer, everything) {
  const fields = FIELDS.map(([key, get]) => {
    const values = answer.runs.map((run) => get(run, answer.now) ?? null);
    return { key, values, differs: values.some((value) => value !== values[0]), missing: values.flatMap((value, at) => (value === null ? [at] : [])) };
  }).filter((row) => row.missing.length < row.values.length);
  const keep = (/** @type {Row[]} */ rows) => (everything ? rows : rows.filter((row) => row.differs));
  return [
    { id: "config", title: "Config", rows: keep(answer.config), total: answer.counts.config },
    { id: "summary", title: "Summary", rows: keep(answer.summary), total: answer.counts.summary },
    { id: "run", title: "Run", rows: keep(fields), total: fields.length },
    { id: "environment", title: "Environment", rows: keep(answer.environment), total: answer.counts.environment },
  ];
}

/**
 * One form for all times of a row: ages if these tell them apart, else dates, with seconds where minutes are the same.
 * @param {any[]} times null for none
 * @param {number} now
 * @returns {(time: number) => string}
 */
function timeForm(times, now) {
  const distinct = [...new Set(times)].filter((time) => typeof time === "number");
  const forms = [(/** @type {number} */ time) => ago(time, now), (/** @type {number} */ time) => moment(time).slice(5, 16)];
  return forms.find((form) => new Set(distinct.map(form)).size === distinct.length) ?? ((time) => moment(time).slice(5, 19));
}

/**
 * A cell as text.
 * @param {Section["id"]} section
 * @param {Row} row
 * @param {number} index of the run
 * @param {number} now
 * @returns {{text: string, title: string, missing: boolean}}
 */
export function cellText(section, row, index, now) {
  const value = row.values[index];
  if (row.missing?.includes(index)) return { text: "–", title: "not set", missing: true };
  if (section === "run") {
    if (row.key === "started") return { text: timeForm(row.values, now)(value), title: moment(value), missing: false };
    if (row.key === "duration") return { text: duration(value), title: `${exact(value)} s`, missing: false };
    if (typeof value === "number") return { text: whole(value), title: exact(value), missing: false };
  }
  const whole_ = plainText(value);
  const given = numeric(value);
  if (given !== null) return { text: number(given), title: exact(given), missing: false };
  const line = whole_.replace(/\s*\n\s*/g, " ⏎ ");
  const others = row.values.map((other) => plainText(other).replace(/\s*\n\s*/g, " ⏎ "));
  return { text: shorten(line, others, LONGEST), title: whole_, missing: false };
}

/**
 * A value as one text.
 * @param {any} value
 * @returns {string}
 */
export function plainText(value) {
  if (value === null || value === undefined) return "null";
  if (value === "") return '""';
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/**
 * The delta of a cell from the baseline as text: "+0.012 (+3.1 %)".
 * @param {import("./delta.js").Delta} change
 * @returns {string}
 */
export function deltaText(change) {
  if (change.absolute === 0) return "±0";
  const sign = change.absolute > 0 ? "+" : "";
  const share = percentText(change.percent);
  return `${sign}${number(change.absolute)}${share ? ` (${share})` : ""}`;
}

/**
 * The comparison as a table to be copied: exact values, deltas in a bracket, the best in bold.
 * @param {Answer} answer
 * @param {Section[]} sections
 * @param {number[]} order indexes of the runs
 * @param {number} baseline index
 * @param {{deltas: boolean}} options
 * @returns {import("./copy.js").Table}
 */
export function toTable(answer, sections, order, baseline, { deltas }) {
  /** @type {string[][]} */
  const rows = [];
  /** @type {boolean[][]} */
  const strong = [];
  for (const section of sections) {
    for (const row of section.rows) {
      const cells = order.map((index) => {
        const cell = cellText(section.id, row, index, answer.now);
        if (cell.missing) return "";
        const given = numeric(row.values[index]);
        const text = section.id === "run" ? cell.text : given !== null && Number.isFinite(given) ? shortExact(given) : cell.title;
        const change = deltas && section.id === "summary" && index !== baseline ? delta(row.values[index], row.values[baseline], row.goal) : null;
        return change && change.absolute !== 0 ? `${text} (${percentText(change.percent) || deltaText(change)})` : text;
      });
      rows.push([row.key, ...cells]);
      strong.push([false, ...order.map((index) => row.best?.includes(index) ?? false)]);
    }
  }
  const names = answer.runs.map((run) => run.name);
  const head = ["", ...order.map((index) => {
    const run = /** @type {ComparedRun} */ (answer.runs[index]);
    return names.filter((name) => name === run.name).length > 1 ? `${run.name} (${run.id})` : run.name;
  })];
  return { head, rows, strong };
}

/** @param {number} value */
function shortExact(value) {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
}
