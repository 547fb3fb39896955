/**
 * Asks the server once a second what changed, while the tab is visible; twice while it reads runs for the first time. When the server is gone it asks less often, up to each 10 s, and loads everything again when it is back.
 */
import { api, connection } from "./api.js";
import { meta, poll, reloadRuns, runs } from "./runs.js";

const EVERY = 1000;
/** Longest and shortest interval while the server reads runs for the first time, in milliseconds. */
const INDEXING = 500, SOON = 100;
const LONGEST = 10_000;

let wait = INDEXING;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
/** The progress at the last answer. @type {Progress | null} */
let before = null;
let asking = false;
let gone = false;

/** @typedef {{done: number, at: number}} Progress runs that were read, and when the page knew, in milliseconds */

/**
 * How long to wait for the runs that are still to be read, at the speed of the last interval: when all are read, the page
 * asks soon.
 * @param {Progress | null} last
 * @param {Progress} now
 * @param {number} total
 * @returns {number} in milliseconds
 */
export function untilRead(last, now, total) {
  const speed = last ? (now.done - last.done) / (now.at - last.at) : 0;
  return speed > 0 ? Math.min(INDEXING, Math.max(SOON, (total - now.done) / speed)) : INDEXING;
}

export function startPolling() {
  if (api.saved) return;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) {
      wait = EVERY;
      void ask();
    }
  });
  addEventListener("online", retry);
  plan();
}

/** Ask at once: the button of the bar. */
export function retry() {
  wait = EVERY;
  clearTimeout(timer);
  void ask();
}

function plan() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(ask, wait);
}

async function ask() {
  if (asking) return;
  asking = true;
  try {
    if (gone || !runs.peek().loaded) await reloadRuns();
    else await poll();
    gone = false;
    const indexing = meta.peek()?.indexing;
    const now = { done: indexing?.done ?? 0, at: performance.now() };
    wait = indexing ? untilRead(before, now, indexing.total) : runs.peek().partial ? INDEXING : EVERY;
    before = now;
  } catch {
    if (!connection.peek().ok) gone = true;
    wait = Math.min(wait * 2, LONGEST);
  } finally {
    asking = false;
    plan();
  }
}
