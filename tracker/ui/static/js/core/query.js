/**
 * The query line's answer: which runs match `view.query`. Asks the server; repeats while runs change.
 */
import { ApiError, api } from "./api.js";
import { changed, runs } from "./runs.js";
import { signal } from "./signal.js";
import { view } from "./state.js";

/**
 * @typedef {object} QueryResult
 * @property {string} text the query that this is the answer to
 * @property {Set<string> | null} refs null without a query, and while the first answer is awaited
 * @property {ApiError | null} error of the query as it stands; `refs` are those of the last that was right
 */

/** Pause after typing, in milliseconds. */
const PAUSE = 150;
/** Least time between repetitions while runs change, in milliseconds. */
const AGAIN = 3000;

/** @type {import("./signal.js").Signal<QueryResult>} */
export const queryResult = signal(/** @type {QueryResult} */ ({ text: "", refs: null, error: null }));

/** @type {AbortController | null} */
let running = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
let asked = "";
let last = 0;

export function startQuery() {
  view.subscribe(() => {
    if (view.peek().query !== asked) plan(PAUSE);
  });
  changed.subscribe(() => {
    if (view.peek().query && !running) plan(Math.max(PAUSE, AGAIN - (Date.now() - last)));
  });
  if (view.peek().query) void ask();
}

/** @param {number} wait */
function plan(wait) {
  const { query } = view.peek();
  clearTimeout(timer);
  asked = query;
  if (query.trim() === "") {
    running?.abort();
    queryResult.value = { text: "", refs: null, error: null };
    return;
  }
  timer = setTimeout(ask, wait);
}

async function ask() {
  const text = view.peek().query;
  asked = text;
  running?.abort();
  const controller = new AbortController();
  running = controller;
  try {
    const answer = await api.get("runs", { query: text, columns: "" }, { signal: controller.signal });
    const before = queryResult.peek();
    // The same answer again must not rearrange the table.
    if (before.text === text && !before.error && before.refs?.size === answer.refs.length && answer.refs.every((/** @type {string} */ ref) => before.refs?.has(ref))) return;
    queryResult.value = { text, refs: new Set(answer.refs), error: null };
  } catch (error) {
    if (controller.signal.aborted || !(error instanceof ApiError)) return;
    if (error.code !== "unreachable") queryResult.value = { ...queryResult.peek(), error };
  } finally {
    if (running === controller) running = null;
    last = Date.now();
  }
}

/** Whether an answer is awaited for the first time. */
export function awaitingQuery() {
  return view.peek().query.trim() !== "" && queryResult.peek().text !== view.peek().query && !queryResult.peek().error && runs.peek().loaded;
}
