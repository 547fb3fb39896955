/**
 * Which runs the table shows and in which order, from the runs and the view. Also keeps `matching` of core/runs.js, and
 * selects the first runs until the user chooses. Live values move no row; new runs are put in their place.
 */
import { columnInfos, ensureColumns, matching, runs } from "../core/runs.js";
import { signal } from "../core/signal.js";
import { change, view } from "../core/state.js";
import { queryResult } from "../core/query.js";
import { comparer, filterRows, groupRows, insertRows, parseSort, sortRows } from "./arrange.js";
import { parseCondition } from "./conditions.js";

/** @typedef {import("./arrange.js").Group} Group */

/**
 * @typedef {{kind: "run", ref: string, row: number}} RunEntry
 * @typedef {{kind: "group", key: string, group: Group, folded: boolean}} GroupEntry
 * @typedef {RunEntry | GroupEntry} Entry
 *
 * @typedef {object} Arrangement
 * @property {Entry[]} entries rows of the table, group rows included
 * @property {string[]} refs runs that pass, in order, those in folded groups included
 * @property {number} cause grows when the user's doing, not new data, changed the order
 */

/** Number of runs that are selected until the user chooses. */
export const FIRST = 10;

/** @type {import("../core/signal.js").Signal<Arrangement>} */
export const arrangement = signal(/** @type {Arrangement} */ ({ entries: [], refs: [], cause: 0 }));

/** Keys of folded groups. */
export const foldedGroups = signal(/** @type {Set<string>} */ (new Set()));

/** Fields of the view that this depends on. @type {(keyof import("../core/address.js").View)[]} */
const FIELDS = ["sort", "filters", "group", "project", "chosen"];

/** @type {string[]} refs in order */
let order = [];
let settings = "";
let cause = 0;
let planned = false;
/** Whether the selection was made from a part of the runs. */
let provisional = false;

/** Compute it now and whenever something changes. */
export function startModel() {
  runs.subscribe(plan);
  let before = view.peek();
  view.subscribe(() => {
    const now = view.peek();
    // Zooming and the like change the view many times a second, and nothing here.
    if (FIELDS.some((name) => now[name] !== before[name])) plan();
    before = now;
  });
  queryResult.subscribe(plan);
  foldedGroups.subscribe(plan);
  plan();
}

/** Several changes of one task are one arrangement. */
function plan() {
  if (planned) return;
  planned = true;
  queueMicrotask(() => {
    planned = false;
    arrange();
  });
}

/** Columns that order, filters and groups need. */
function needed() {
  const { sort, filters, group } = view.peek();
  return [...parseSort(sort).map((key) => key.column), ...Object.keys(filters), ...group];
}

function arrange() {
  const { refs, index, columns, loaded } = runs.peek();
  if (!loaded) return;
  const { sort, filters, group, project } = view.peek();
  const missing = needed().filter((name) => !columns.has(name));
  if (missing.length) void ensureColumns(missing).catch(() => undefined);

  const found = queryResult.peek();
  const conditions = Object.entries(filters).flatMap(([name, text]) => {
    const condition = parseCondition(text);
    return condition && columns.has(name) ? [/** @type {[string, import("./conditions.js").Condition]} */ ([name, condition])] : [];
  });
  const projects = columns.get("project") ?? [];
  const filtered = found.refs !== null || project !== "" || conditions.length > 0;
  const pass = filterRows(refs.length, columns, conditions,
    (row) => (project === "" || projects[row] === project) && (found.refs === null || found.refs.has(/** @type {string} */ (refs[row]))));

  const keys = parseSort(sort);
  const now = JSON.stringify([sort, filters, group, project, found.text, missing]);
  const asked = now !== settings;
  if (asked || order.length === 0) {
    order = sortRows(pass, columns, keys).map((row) => /** @type {string} */ (refs[row]));
    settings = now;
    cause += 1;
  } else {
    const passing = new Set(pass);
    const stay = order.flatMap((ref) => {
      const row = index.get(ref);
      return row !== undefined && passing.delete(row) ? [row] : [];
    });
    order = insertRows(stay, [...passing], comparer(columns, keys)).map((row) => /** @type {string} */ (refs[row]));
  }
  matching.value = filtered ? new Set(order) : null;
  const rows = order.map((ref) => /** @type {number} */ (index.get(ref)));
  arrangement.value = { entries: entriesOf(rows, group, refs, columns), refs: order, cause };
  if (!missing.length) choose(asked);
}

/**
 * @param {number[]} rows
 * @param {string[]} by
 * @param {string[]} refs
 * @param {Map<string, any[]>} columns
 * @returns {Entry[]}
 */
function entriesOf(rows, by, refs, columns) {
  /** @param {number} row @returns {Entry} */
  const entry = (row) => ({ kind: "run", ref: /** @type {string} */ (refs[row]), row });
  if (!by.length) return rows.map(entry);
  const folded = foldedGroups.peek();
  return groupRows(rows, columns, by).flatMap((group) => {
    const isFolded = folded.has(group.key);
    /** @type {Entry} */
    const head = { kind: "group", key: group.key, group, folded: isFolded };
    return isFolded ? [head] : [head, ...group.rows.map(entry)];
  });
}

/**
 * Until the user chooses, the first runs of the table are selected. New data alone changes no selection, but for runs
 * that are read for the first time.
 * @param {boolean} asked whether the user changed the order
 */
function choose(asked) {
  const { chosen, runs: before } = view.peek();
  if (chosen) return;
  const { partial, index: known } = runs.peek();
  // What is selected must not depend on which runs happened to be read first.
  const again = asked || partial || provisional;
  provisional = partial;
  if (!again && before.some((ref) => known.has(ref))) return;
  const first = order.slice(0, FIRST);
  const wanted = new Set(first);
  // Those that stay keep their place, so that they keep their colour.
  const stay = before.filter((ref) => wanted.delete(ref));
  change({ runs: [...stay, ...wanted] }, { undo: false, replace: true });
}

/** @param {string} key */
export function toggleGroup(key) {
  const next = new Set(foldedGroups.peek());
  if (!next.delete(key)) next.add(key);
  foldedGroups.value = next;
}

/** Most runs that are selected by one click. */
export const MOST_SELECTED = 200;

/**
 * Select exactly these.
 * @param {string[]} refs
 */
export function select(refs) {
  change({ runs: refs, chosen: true });
}

/**
 * Select or unselect some.
 * @param {string[]} refs
 * @param {boolean} on
 */
export function setSelected(refs, on) {
  const before = view.peek().runs;
  const some = new Set(refs);
  select(on ? [...before, ...refs.filter((ref) => !before.includes(ref))] : before.filter((ref) => !some.has(ref)));
}

/**
 * The goal of a column: what is better.
 * @param {string} column
 * @returns {string | null} "maximize", "minimize" or null
 */
export function goalOf(column) {
  return columnInfos.value.find((one) => one.name === column)?.goal ?? null;
}
