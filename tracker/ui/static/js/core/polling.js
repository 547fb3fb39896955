/**
 * Asks the server once a second what changed, while the tab is visible; twice while it reads runs for the first time. When the server is gone it asks less often, up to each 10 s, and loads everything again when it is back.
 */
import { api, connection } from "./api.js";
import { meta, poll, reloadRuns, runs } from "./runs.js";

const EVERY = 1000;
/** Interval while the server reads runs for the first time, in milliseconds. */
const INDEXING = 500;
const LONGEST = 10_000;

let wait = INDEXING;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
let asking = false;
let gone = false;

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
    wait = runs.peek().partial || meta.peek()?.indexing ? INDEXING : EVERY;
  } catch {
    if (!connection.peek().ok) gone = true;
    wait = Math.min(wait * 2, LONGEST);
  } finally {
    asking = false;
    plan();
  }
}
