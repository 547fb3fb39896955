/**
 * The columns of the table: selection, width, text of a value.
 */
import { api } from "../core/api.js";
import { ago, count, duration, exact, moment, number } from "../core/format.js";
import { changed, columnInfos, loadColumnInfos, meta, runs } from "../core/runs.js";
import { signal } from "../core/signal.js";
import { view } from "../core/state.js";
import { joined } from "../core/names.js";

/**
 * @typedef {object} Column
 * @property {string} name
 * @property {string} label
 * @property {string} title the label in full, for hovering
 * @property {number} width in pixels
 * @property {boolean} numeric aligned right
 * @property {"name" | "state" | "tags" | "moment" | "duration" | "count" | "value"} kind
 */

/** @type {Record<string, {label: string, kind: Column["kind"], width: number}>} */
const FIELDS = {
  name: { label: "Run", kind: "name", width: 176 }, id: { label: "ID", kind: "value", width: 96 }, project: { label: "Project", kind: "value", width: 96 },
  group: { label: "Group", kind: "value", width: 96 }, job_type: { label: "Job type", kind: "value", width: 90 }, tags: { label: "Tags", kind: "tags", width: 150 },
  notes: { label: "Notes", kind: "value", width: 200 }, state: { label: "State", kind: "state", width: 112 }, step: { label: "Step", kind: "count", width: 78 },
  start_time: { label: "Started", kind: "moment", width: 92 }, end_time: { label: "Ended", kind: "moment", width: 92 },
  duration: { label: "Duration", kind: "duration", width: 78 }, points: { label: "Points", kind: "count", width: 78 }, color: { label: "Color", kind: "value", width: 80 },
  reason: { label: "Reason", kind: "value", width: 180 }, place: { label: "Place", kind: "value", width: 110 },
};
const NUMBER_WIDTH = 84;
const TEXT_WIDTH = 92;
/** Widest that a label alone makes a column, and how wide a character of it is, about. */
const WIDEST = 132;
const CHARACTER = 6.4;
/** More for the deltas to the baseline. */
const DELTA_WIDTH = 60;
/** More for the deviation in the rows of groups. */
const SPREAD_WIDTH = 48;
export const NARROWEST = 48;

/** Columns shown until the user chooses some. Known once the names of columns have been loaded. */
export const standardColumns = signal(/** @type {string[]} */ (["name", "state", "start_time", "duration", "tags"]));

/** Config keys that differ between the newest runs, most useful first. */
export const differing = signal(/** @type {string[]} */ ([]));

const SIGNS = /** @type {Record<string, string>} */ ({ running: "●", finished: "✓", failed: "✕", crashed: "◌", stalled: "‖", killed: "⊘", preempted: "⏏", unreadable: "?" });

/**
 * The sign of a state, told apart by shape.
 * @param {string} state
 * @returns {string}
 */
export function stateSign(state) {
  return SIGNS[state] ?? "○";
}

/** @returns {Column[]} the columns of the table as the view wants them; the name is always the first */
export function shownColumns() {
  const wanted = view.value.columns ?? standardColumns.value;
  const names = ["name", ...wanted.filter((name) => name !== "name")];
  const labels = shortLabels(names, columnInfos.value.map((one) => one.name));
  return names.map((name, at) => {
    const field = FIELDS[name];
    const numeric = field ? ["count", "duration"].includes(field.kind) : isNumeric(name);
    const label = field?.label ?? /** @type {string} */ (labels[at]);
    const standard = (field?.width ?? Math.max(numeric ? NUMBER_WIDTH : TEXT_WIDTH, Math.min(label.length * CHARACTER + 26, WIDEST))) + extra(name, numeric);
    const own = Number(view.value.widths[name]);
    return { name, label, title: field?.label ?? name, width: own >= NARROWEST ? own : standard, numeric, kind: field?.kind ?? "value" };
  });
}

/**
 * Room for what else stands in a cell: the difference to the baseline, the deviation within a group.
 * @param {string} name
 * @param {boolean} numeric
 */
function extra(name, numeric) {
  if (!numeric || !name.startsWith("summary.")) return 0;
  return Math.max(view.value.baseline ? DELTA_WIDTH : 0, view.value.group.length ? SPREAD_WIDTH : 0);
}

/**
 * The title of a column.
 * @param {string} name
 * @returns {string}
 */
export function columnLabel(name) {
  return FIELDS[name]?.label ?? name;
}

/** What stands before the key in a column's name. */
const KEYED = /^(config|summary)\./;

/** Last parts of a key that are meaningless without the part before. */
const STATISTIC = /^(min|max|mean|best|first|last|std|sum|count)$/;

/**
 * Keys without the parts in front that are not needed to tell them apart: "summary.train.loss" is "loss".
 * A label is never the whole key of another column: "summary.test.loss" is "test.loss" if there is a "summary.loss".
 * @param {string[]} names
 * @param {string[]} [known] names of all columns, those that are not shown included
 * @returns {string[]}
 */
export function shortLabels(names, known = []) {
  const owners = new Map(known.filter((name) => KEYED.test(name)).map((name) => [name.replace(KEYED, ""), name]));
  const parts = names.map((name) => name.split(/(?<=[./])/));
  const suffix = (/** @type {string[]} */ part, /** @type {number} */ length) => part.slice(-length).join("");
  return names.map((name, at) => {
    const own = /** @type {string[]} */ (parts[at]);
    for (let length = STATISTIC.test(own.at(-1) ?? "") ? 2 : 1; length < own.length; length += 1) {
      const text = suffix(own, length);
      if ((owners.get(text) ?? name) === name && parts.every((other, place) => place === at || suffix(other, length) !== text)) return text;
    }
    return name;
  });
}

/**
 * @param {string} name
 * @returns {boolean} whether its values are numbers
 */
export function isNumeric(name) {
  const info = columnInfos.value.find((one) => one.name === name);
  if (info) return info.numeric;
  return runs.value.columns.get(name)?.some((value) => typeof value === "number") ?? false;
}

/**
 * @param {Column} column
 * @param {any} value
 * @returns {string} text in a cell
 */
export function cellText(column, value) {
  if (value === null || value === undefined) return "";
  if (column.kind === "moment") return ago(value);
  if (column.kind === "duration") return duration(value);
  if (column.kind === "count") return typeof value === "number" ? count(value) : String(value);
  if (Array.isArray(value)) return value.map((one) => (typeof one === "object" ? JSON.stringify(one) : String(one))).join(", ");
  return typeof value === "object" ? JSON.stringify(value) : number(value);
}

/**
 * @param {Column} column
 * @param {any} value
 * @returns {string} exact, for hovering and copying
 */
export function exactText(column, value) {
  if (value === null || value === undefined) return "";
  if (column.kind === "moment") return moment(value);
  if (column.kind === "duration") return `${duration(value)} (${exact(value)} s)`;
  return typeof value === "object" ? (Array.isArray(value) ? value.join(", ") : JSON.stringify(value)) : exact(value);
}

/** Minimum time between requests for the list of columns, in milliseconds. */
const AGAIN = 2000;

/**
 * Keep the names of columns up to date while runs change. The default columns stay as they are once they show metrics: a
 * new metric does not move them.
 * @returns {() => void} ends it
 */
export function watchColumns() {
  let last = 0;
  let running = false;
  /** Whether the columns are those of a part of the runs. */
  let isEarly = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const look = async () => {
    clearTimeout(timer);
    const { loaded, partial } = runs.peek();
    // The server reads runs: it is asked once, and again when it has read all.
    if (!loaded || (partial && (isEarly || running))) return;
    const wait = isEarly ? 0 : last + AGAIN - Date.now();
    if (running || wait > 0) {
      // A change that comes too soon is handled later.
      timer = setTimeout(look, Math.max(wait, 100));
      return;
    }
    running = true;
    try {
      await loadColumnInfos();
      if (partial || isEarly || !standardColumns.peek().some((name) => name.startsWith("summary."))) await suggestColumns();
    } catch {
      // The next change tries again.
    } finally {
      running = false;
      isEarly = partial;
      last = Date.now();
    }
  };
  const ends = [changed.subscribe(() => void look()), runs.subscribe(() => { if (last === 0) void look(); })];
  void look();
  return () => {
    clearTimeout(timer);
    ends.forEach((end) => end());
  };
}

/** Runs looked at to find what differs, and columns of config looked at. */
const SAMPLE = 50;
const KEYS = 60;

/** Names of metrics that are results, and of those that are not. */
const RESULT = /loss|acc|score|f1|auc|reward|return|perplexity|ppl|bleu|rouge|error|mae|mse|iou/i;
const SETTING = /(^|[./_])(lr|learning_rate|epoch|step|time|memory|gpu|cpu|norm)([./_]|$)/i;

/** Find good columns: the config that differs between the newest runs, and the metrics most runs have. */
export async function suggestColumns() {
  const infos = columnInfos.peek();
  const configs = infos.filter((one) => one.kind === "config").slice(0, KEYS).map((one) => one.name);
  const { refs, columns } = runs.peek();
  const times = columns.get("start_time") ?? [];
  const newest = refs.map((ref, row) => /** @type {[string, number]} */ ([ref, times[row] ?? 0])).sort((a, b) => b[1] - a[1]).slice(0, SAMPLE).map(([ref]) => ref);
  /** @type {[string, number][]} */
  let found = [];
  if (configs.length && newest.length) {
    const answer = await api.get("runs", { columns: joined(configs), refs: newest.join(",") });
    found = configs.map((name) => {
      const { values, dictionary } = answer.columns[name] ?? {};
      return [name, dictionary ? dictionary.length : new Set((values ?? []).map((/** @type {any} */ value) => JSON.stringify(value))).size];
    });
  }
  differing.value = found.filter(([, n]) => n > 1).map(([name]) => name);
  const summaries = infos.filter((one) => one.kind === "summary" && one.numeric);
  // One column for each metric: "loss" says more than "loss.min" beside it.
  /** @type {Map<string, import("../core/runs.js").ColumnInfo>} */
  const pool = new Map();
  for (const one of summaries) {
    const last = one.name.replace(/^.*[./]/, "");
    const base = STATISTIC.test(last) ? one.name.slice(0, -last.length - 1) : one.name;
    const before = pool.get(base);
    if (!before || one.name === base || (last === "last" && before.name !== base)) pool.set(base, one);
  }
  const often = Math.max(0, ...summaries.map((one) => one.runs)) / 4;
  const weight = (/** @type {import("../core/runs.js").ColumnInfo} */ one) => (one.goal ? 2 : 0) + (RESULT.test(one.name) ? 1 : SETTING.test(one.name) ? -1 : 0);
  const metrics = [...pool.values()].filter((one) => one.runs >= often).sort((a, b) => weight(b) - weight(a)).slice(0, 3).map((one) => one.name);
  const several = (meta.peek()?.places.length ?? 0) > 1;
  const next = ["name", "state", ...(several ? ["place"] : []), ...metrics.slice(0, 2), ...differing.value.slice(0, 4), ...metrics.slice(2), "start_time", "duration", "tags"];
  if (next.join() !== standardColumns.peek().join()) standardColumns.value = next;
}
