/**
 * Collects the data of a view: what the pages ask the server for, for the selected runs. The requests are handed in.
 */

import { joined } from "../core/names.js";
import { xOfPanel } from "../panels/axis.js";

/** Maximum number of rows of the table in a saved file, besides the selected runs. */
export const MAX_ROWS = 2000;
/** Maximum number of config and summary columns. */
export const MAX_COLUMNS = 300;
/** Maximum number of runs whose own pages are saved. */
export const MAX_PAGES = 50;
/** Maximum number of runs that can be compared in a saved file. */
export const MAX_COMPARED = 50;
/** Maximum size of all series, about, in bytes. */
export const MAX_SERIES_BYTES = 48 * 1024 * 1024;
/** Buckets of a series: more than a panel is wide, so that there is something to zoom into. */
export const BUCKETS = 1600;
const LEAST_BUCKETS = 100;
const BYTES_PER_BUCKET = 40;
/** Maximum number of text series and histograms, over all runs. */
export const MAX_OTHERS = 200;
/** Maximum number of texts of a series. */
const TEXTS = 100;
/** Columns of a histogram over steps. */
const COLUMNS = 200;
/** Maximum number of panels in one request. */
const PANELS = 100;

const FIELDS = ["id", "name", "project", "group", "job_type", "tags", "notes", "state", "step", "start_time", "end_time", "duration", "points", "color", "reason"];

/**
 * @typedef {object} Requests
 * @property {(path: string, params?: any) => Promise<any>} get
 * @property {(path: string, body: any) => Promise<any>} post
 * @property {(request: any) => Promise<ArrayBuffer>} bytes `POST series`, as it came
 *
 * @typedef {object} What
 * @property {string[]} rows refs of the rows of the table, in its order
 * @property {string[]} selected refs of the selected runs
 * @property {string} x as in the view
 * @property {boolean} logX
 * @property {string} baseline
 * @property {string} address the view, as an address
 */

/**
 * How many buckets a series may have, so that all fit.
 * @param {number} count number of series
 * @returns {number}
 */
export function bucketsFor(count) {
  return Math.max(LEAST_BUCKETS, Math.min(BUCKETS, Math.floor(MAX_SERIES_BYTES / BYTES_PER_BUCKET / Math.max(1, count))));
}

/**
 * @param {Requests} requests
 * @param {What} what
 * @param {(done: number, total: number) => void} [progress]
 * @returns {Promise<any>} the data of `#saved`
 */
export async function collect(requests, what, progress = () => undefined) {
  const { selected } = what;
  const refs = [...new Set([...selected, ...what.rows.slice(0, MAX_ROWS)])];
  const [meta, columns, keys] = await Promise.all([requests.get("meta"), requests.get("columns"), selected.length ? requests.post("keys", { runs: selected }) : []]);
  const numeric = keys.filter((/** @type {any} */ one) => one.kind === "number").map((/** @type {any} */ one) => /** @type {string} */ (one.key));
  const pages = selected.slice(0, MAX_PAGES);
  /** @type {Map<string, string[]>} x axis → metrics that are drawn over it */
  const byAxis = new Map();
  for (const key of numeric) {
    const x = xOfPanel(what.x, key, keys);
    byAxis.set(x, [...(byAxis.get(x) ?? []), key]);
  }
  const parts = [...byAxis].flatMap(([x, all]) => Array.from({ length: Math.ceil(all.length / PANELS) }, (_, at) => ({ x, part: all.slice(at * PANELS, (at + 1) * PANELS) })));
  const batches = parts.length * 2;
  const total = batches + pages.length + 2;
  let done = 0;
  const step = () => progress(++done, total);

  const names = [...FIELDS, ...columns.map((/** @type {any} */ one) => one.name).filter((/** @type {string} */ name) => /^(config|summary)\./.test(name)).slice(0, MAX_COLUMNS)];
  const table = await runsOf(requests, names, refs);
  step();
  /** @type {Record<string, any>} */
  const answers = {
    meta: { ...meta, token: "", places: meta.places.map((/** @type {any} */ place) => ({ ...place, writable: false })) },
    columns, runs: table, views: [],
  };
  /** @type {Record<string, any>} */
  const posts = { keys };
  if (selected.length > 1 && selected.length <= MAX_COMPARED) posts.compare = await requests.post("compare", { runs: selected, baseline: what.baseline || selected[0], all: true });
  step();
  for (const ref of pages) {
    answers[`runs/${encodeURIComponent(ref)}`] = await requests.get(`runs/${encodeURIComponent(ref)}`);
    step();
  }
  await others(requests, keys, pages, answers);
  const series = [];
  const count = bucketsFor(numeric.length * selected.length * 2);
  for (const writers of ["together", "apart"]) {
    for (const { x, part } of parts) {
      const panels = part.map((key) => ({ key, runs: selected, count }));
      const body = await requests.bytes({ x, low: null, high: null, log_x: what.logX, margin: 0, writers, panels });
      series.push({ x, log_x: what.logX, writers, body: base64OfBytes(new Uint8Array(body)) });
      step();
    }
  }
  return { answers, posts, series, address: what.address, time: Date.now() / 1000 };
}

/**
 * Text series, histograms and lists of files, as far as the runs have them.
 * @param {Requests} requests
 * @param {{key: string, kind: string}[]} keys
 * @param {string[]} refs
 * @param {Record<string, any>} answers receives them
 */
async function others(requests, keys, refs, answers) {
  const wanted = refs.flatMap((ref) => {
    const logged = answers[`runs/${encodeURIComponent(ref)}`]?.summary ?? {};
    return keys.filter(({ key, kind }) => kind !== "number" && key in logged).map(({ key, kind }) => ({ ref, key, kind }));
  });
  for (const { ref, key, kind } of wanted.slice(0, MAX_OTHERS)) {
    if (kind !== "text" && kind !== "histogram") continue;
    const path = `runs/${encodeURIComponent(ref)}/${kind === "text" ? "text" : "histograms"}`;
    const answer = await requests.get(path, kind === "text" ? { key, limit: TEXTS } : { key, count: COLUMNS });
    answers[`${path}?key=${key}`] = kind === "text" ? { ...answer, next: null } : answer;
  }
  for (const ref of refs) {
    const path = `runs/${encodeURIComponent(ref)}/files`;
    answers[path] = await requests.get(path);
  }
}

/**
 * @param {Requests} requests
 * @param {string[]} names
 * @param {string[]} refs
 */
async function runsOf(requests, names, refs) {
  const PART = 200;
  /** @type {any} */
  let whole = null;
  for (let from = 0; from < refs.length || !whole; from += PART) {
    const part = await requests.get("runs", { columns: joined(names), refs: refs.slice(from, from + PART).join(",") });
    if (!whole) {
      whole = { ...part, refs: [], columns: Object.fromEntries(names.map((name) => [name, { values: [] }])) };
    }
    whole.refs.push(...part.refs);
    for (const name of names) {
      const column = part.columns[name] ?? { values: part.refs.map(() => null) };
      const values = column.values ?? column.index.map((/** @type {number | null} */ at) => (at === null || at < 0 ? null : column.dictionary[at]));
      whole.columns[name].values.push(...values);
    }
  }
  return { ...whole, total: whole.refs.length, matched: whole.refs.length };
}

/** @param {Uint8Array} bytes */
function base64OfBytes(bytes) {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 0x8000) binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(binary);
}
