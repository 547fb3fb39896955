/**
 * The runs, in columns, as the server has them; which of them are selected; which one is pointed at.
 * Loads what is asked for and keeps it up to date. Does not know how runs are shown.
 */
import { BASE_COLUMNS } from "./ahead.js";
import { api, setToken } from "./api.js";
import { decodeColumn } from "./decode.js";
import { computed, signal } from "./signal.js";
import { view } from "./state.js";
import { joined } from "./names.js";

/**
 * @typedef {object} RunTable All runs, a value in each column for each of `refs`.
 * @property {string[]} refs
 * @property {Map<string, number>} index ref to its row
 * @property {Map<string, any[]>} columns
 * @property {boolean} loaded false until the first answer
 * @property {boolean} partial whether the server had read only a part of them, the newest
 *
 * @typedef {object} Run One run; a field that has not been loaded is null.
 * @property {string} ref
 * @property {string} id
 * @property {string} name
 * @property {string | null} project
 * @property {string | null} group
 * @property {string | null} job_type
 * @property {string[]} tags
 * @property {string | null} notes
 * @property {string} state
 * @property {number | null} step
 * @property {number | null} start_time
 * @property {number | null} end_time
 * @property {number | null} duration
 * @property {number | null} points
 * @property {string | null} color
 * @property {string | null} reason
 *
 * @typedef {object} Meta
 * @property {string} version
 * @property {string} token
 * @property {{place: string, kind: string, writable: boolean, runs: number, error: string | null}[]} places why it cannot be read: `error`
 * @property {number} now
 * @property {{done: number, total: number} | null} indexing
 *
 * @typedef {object} ColumnInfo
 * @property {string} name
 * @property {string} kind "field", "config" or "summary"
 * @property {number} runs runs that have it
 * @property {boolean} numeric
 * @property {string | null} goal "maximize", "minimize" or null
 */

/** Timeout of small requests, in milliseconds. A stopped process accepts connections and never answers. */
const DEADLINE = 8000;

/** If more runs changed than this, all are loaded again. */
const MANY = 400;
/** While runs are read for the first time: minimum time between two loads of those that were read, in milliseconds. */
const PARTS = 4000;
/** Runs named in one request. */
const AT_ONCE = 200;

export const runs = signal(/** @type {RunTable} */ ({ refs: [], index: new Map(), columns: new Map(), loaded: false, partial: false }));

/** @type {import("./signal.js").Signal<Meta | null>} */
export const meta = signal(/** @type {Meta | null} */ (null));

/** Names of all columns that there are, by frequency. @type {import("./signal.js").Signal<ColumnInfo[]>} */
export const columnInfos = signal(/** @type {ColumnInfo[]} */ ([]));

/** Refs that changed at the last poll. */
export const changed = signal(/** @type {Set<string>} */ (new Set()));

/** The run, or the id of the group, under the pointer, in the table, a chart or a legend; it is highlighted everywhere. */
export const highlighted = signal(/** @type {string | null} */ (null));

/** Refs that pass the query and the filters; null when there are neither. Kept by the table. */
export const matching = signal(/** @type {Set<string> | null} */ (null));

/** Why runs could not be loaded, or null. */
export const trouble = signal(/** @type {Error | null} */ (null));

/** @type {string[]} */
let last = [];

/** The runs shown in charts: selected, known, and not filtered out. */
const shown = computed(selectedNow, [view, runs, matching]);

/** The server's cursor, for `GET changes`. */
let cursor = "";
/** Number of edits and deletions shown so far, and which of them was the last for a run's column, or for the run. */
let acts = 0;
/** @type {Map<string, number>} */
const acted = new Map();
/** When all runs were last loaded. */
let loadedAt = 0;
/** Columns that were asked for. @type {Map<string, Promise<void>>} */
const asked = new Map();
function selectedNow() {
  const { index } = runs.peek();
  const pass = matching.peek();
  const next = view.peek().runs.filter((ref) => index.has(ref) && (!pass || pass.has(ref)));
  // The same list is the same array, so that listeners are called for real changes only.
  if (next.length !== last.length || next.some((ref, at) => ref !== last[at])) last = next;
  return last;
}

/**
 * Refs of the runs shown in charts, in the order in which they were selected.
 * @returns {string[]}
 */
export function selected() {
  return shown.value;
}

/**
 * What the query and the filters leave out, if no selected run is shown.
 * @returns {"" | "selected" | "all"} "all": every run; "selected": every one that is selected
 */
export function leftOut() {
  const pass = matching.value;
  if (!pass || shown.value.length) return "";
  return pass.size === 0 ? "all" : view.value.runs.some((ref) => runs.value.index.has(ref)) ? "selected" : "";
}

/** The same as a signal. */
export const selection = shown;

/**
 * @param {string} ref
 * @returns {Run | null} null for a run that is not known
 */
export function runAt(ref) {
  const row = runs.value.index.get(ref);
  if (row === undefined) return null;
  /** @param {string} name */
  const get = (name) => runs.value.columns.get(name)?.[row] ?? null;
  const id = get("id") ?? ref;
  return {
    ref, id, name: get("name") ?? id, project: get("project"), group: get("group"), job_type: get("job_type"), tags: get("tags") ?? [],
    notes: get("notes"), state: get("state") ?? "", step: get("step"), start_time: get("start_time"), end_time: get("end_time"),
    duration: get("duration"), points: get("points"), color: get("color"), reason: get("reason"),
  };
}

/**
 * The value of one column of one run.
 * @param {string} ref
 * @param {string} column
 * @returns {any} null if it has none, or if the column has not been loaded
 */
export function valueOf(ref, column) {
  const row = runs.value.index.get(ref);
  return row === undefined ? null : (runs.value.columns.get(column)?.[row] ?? null);
}

/**
 * Load columns that have not been loaded; from then on they are kept up to date.
 * @param {string[]} names
 * @returns {Promise<void>}
 */
export async function ensureColumns(names) {
  const missing = names.filter((name) => !asked.has(name));
  if (missing.length) {
    const request = load(missing).catch((error) => {
      for (const name of missing) asked.delete(name);
      throw error;
    });
    for (const name of missing) asked.set(name, request);
  }
  await Promise.all(names.map((name) => asked.get(name)));
}

/** @param {string[]} names */
async function load(names) {
  const first = names.includes("id");
  const answer = await api.get("runs", { columns: joined(names) });
  if (first || !runs.peek().loaded) cursor = answer.cursor;
  const before = runs.peek();
  const columns = new Map(before.columns);
  const refs = before.loaded && !first ? before.refs : answer.refs;
  const index = before.loaded && !first ? before.index : indexed(refs);
  const partial = before.loaded && !first ? before.partial : isPartial(answer);
  const rows = answer.refs.map((/** @type {string} */ ref) => index.get(ref));
  const aligned = rows.every((/** @type {number | undefined} */ row, /** @type {number} */ at) => row === at) && rows.length === refs.length;
  for (const name of names) {
    const values = decodeColumn(answer.columns[name] ?? { values: [] });
    columns.set(name, aligned ? values : scatter(values, rows, refs.length));
  }
  if (!before.loaded || first) loadedAt = Date.now();
  runs.value = { refs, index, columns, loaded: true, partial };
}

/**
 * Whether an answer has only a part of the runs. Without a total, it is not known yet whether there is more to read.
 * @param {{indexing?: {done: number, total: number} | null}} answer
 */
const isPartial = (answer) => Boolean(answer.indexing?.total);

/**
 * @param {any[]} values
 * @param {(number | undefined)[]} rows
 * @param {number} size
 */
function scatter(values, rows, size) {
  const result = new Array(size).fill(null);
  rows.forEach((row, at) => {
    if (row !== undefined) result[row] = values[at];
  });
  return result;
}

/** @param {string[]} refs */
function indexed(refs) {
  return new Map(refs.map((ref, at) => [ref, at]));
}

/**
 * Load what every page needs.
 * @param {string[]} more further columns
 */
export async function startRuns(more) {
  const named = api.get("meta").then((answer) => takeMeta(answer));
  try {
    await Promise.all([named, ensureColumns([...new Set([...BASE_COLUMNS, ...more])])]);
    trouble.value = null;
  } catch (error) {
    trouble.value = /** @type {Error} */ (error);
  }
}

/** Load again what failed at the start, or everything after the server came back. */
export async function reloadRuns() {
  const names = asked.size ? [...asked.keys()] : BASE_COLUMNS;
  try {
    takeMeta(await api.get("meta", {}, { signal: AbortSignal.timeout(DEADLINE) }));
    const answer = await api.get("runs", { columns: joined(names) });
    cursor = answer.cursor;
    const columns = new Map(names.map((name) => [name, decodeColumn(answer.columns[name] ?? { values: [] })]));
    for (const name of names) if (!asked.has(name)) asked.set(name, Promise.resolve());
    // Columns that were loaded while this was awaited belong to the old rows.
    const late = [...runs.peek().columns.keys()].filter((name) => !columns.has(name));
    loadedAt = Date.now();
    runs.value = { refs: answer.refs, index: indexed(answer.refs), columns, loaded: true, partial: isPartial(answer) };
    for (const name of late) asked.delete(name);
    if (late.length) void ensureColumns(late).catch(() => undefined);
    trouble.value = null;
    changed.value = new Set(answer.refs);
  } catch (error) {
    if (!runs.peek().loaded) trouble.value = /** @type {Error} */ (error);
    throw error;
  }
}

/** @param {Meta} answer */
function takeMeta(answer) {
  setToken(answer.token);
  meta.value = answer;
}

/** Load the names of all columns; again when runs changed. */
export async function loadColumnInfos() {
  columnInfos.value = await api.get("columns");
}

/**
 * Ask what changed since the last request, and apply it.
 * @returns {Promise<boolean>} whether anything did
 */
export async function poll() {
  const answer = await api.get("changes", { since: cursor }, { signal: AbortSignal.timeout(DEADLINE) });
  const now = meta.peek();
  if (!answer) {
    if (now?.indexing) meta.value = { ...now, indexing: null };
    if (!runs.peek().partial) return false;
    await reloadRuns();
    return true;
  }
  if (now) {
    const places = now.places.map((place, at) => ({ ...place, error: answer.errors?.[at] ?? null }));
    const same = places.every((place, at) => place.error === now.places[at]?.error);
    if (!same || answer.indexing || now.indexing) meta.value = { ...now, places, indexing: answer.indexing ?? null };
  }
  if (runs.peek().partial && isPartial(answer)) {
    // The first screen has the newest runs already, and to load more of them delays those that are still to be read.
    if (Date.now() - loadedAt < PARTS) return false;
    await reloadRuns();
    return true;
  }
  if (runs.peek().partial || answer.all || answer.changed.length > MANY) {
    await reloadRuns();
    return true;
  }
  if (answer.changed.length) await refresh(answer.changed);
  if (answer.removed.length) drop(new Set(answer.removed));
  cursor = answer.cursor;
  changed.value = new Set([...answer.changed, ...answer.removed]);
  return true;
}

/**
 * Load all known columns of some runs again, and add those that are new.
 * @param {string[]} refs
 */
export async function refresh(refs) {
  const names = [...asked.keys()];
  const since = acts;
  // What the user did meanwhile is newer than the answers.
  const isLate = (/** @type {string} */ ref, name = "") => (acted.get(actOf(ref, name)) ?? 0) > since;
  /** @type {any[]} */
  const answers = [];
  for (let from = 0; from < refs.length; from += AT_ONCE) {
    answers.push(await api.get("runs", { columns: joined(names), refs: refs.slice(from, from + AT_ONCE).join(",") }));
  }
  // Only now: columns may have been loaded, and runs edited, while the answers were awaited.
  const before = runs.peek();
  const all = [...before.refs];
  const index = new Map(before.index);
  for (const ref of answers.flatMap((answer) => answer.refs)) {
    if (index.has(ref) || isLate(ref)) continue;
    index.set(ref, all.length);
    all.push(ref);
  }
  const columns = new Map([...before.columns].map(([name, values]) => {
    const next = [...values];
    while (next.length < all.length) next.push(null);
    for (const answer of answers) {
      if (!answer.columns[name]) continue;
      const got = decodeColumn(answer.columns[name]);
      answer.refs.forEach((/** @type {string} */ ref, /** @type {number} */ at) => {
        const row = index.get(ref);
        if (row !== undefined && !isLate(ref, name)) next[row] = got[at];
      });
    }
    return [name, next];
  }));
  runs.value = { ...before, refs: all, index, columns };
}

/**
 * Remove runs.
 * @param {Set<string>} gone
 */
export function drop(gone) {
  for (const ref of gone) note(ref);
  const before = runs.peek();
  const stay = before.refs.map((ref, row) => (gone.has(ref) ? -1 : row)).filter((row) => row >= 0);
  if (stay.length === before.refs.length) return;
  const refs = stay.map((row) => /** @type {string} */ (before.refs[row]));
  const columns = new Map([...before.columns].map(([name, values]) => [name, stay.map((row) => values[row])]));
  runs.value = { ...before, refs, index: indexed(refs), columns };
}

/**
 * Set fields of a run as an edit will; the server's answer comes with the next poll.
 * @param {string} ref
 * @param {Record<string, any>} fields
 */
export function patch(ref, fields) {
  const before = runs.peek();
  const row = before.index.get(ref);
  if (row === undefined) return;
  const columns = new Map(before.columns);
  for (const [name, value] of Object.entries(fields)) {
    note(ref, name);
    const values = [...(columns.get(name) ?? new Array(before.refs.length).fill(null))];
    values[row] = value;
    columns.set(name, values);
  }
  runs.value = { ...before, columns };
}

/**
 * Remember that the user did something to a run.
 * @param {string} ref
 * @param {string} [name] column; without one, the run was removed
 */
function note(ref, name = "") {
  acts += 1;
  acted.set(actOf(ref, name), acts);
}

/** @param {string} ref @param {string} name */
const actOf = (ref, name) => `${ref}\n${name}`;

/** Whether runs can be edited: the place of `ref` says so. Until that is known, the server decides. @param {string} ref */
export function writable(ref) {
  if (meta.value === null) return !api.saved;
  const mark = ref.indexOf("~");
  const place = mark > 0 ? Number(ref.slice(0, mark)) : 0;
  return !api.saved && (meta.value?.places[place]?.writable ?? false);
}
