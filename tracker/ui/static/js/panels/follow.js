/** Keeps the newest points in view while runs are live. */
import { runAt } from "../core/runs.js";
import { followed } from "./settings.js";

/**
 * The zoom that shows the newest points at the width of the present one; null if it does not change.
 * @param {import("../core/state.js").View} view
 * @param {string[]} runs
 * @returns {[number, number] | null}
 */
export function followZoom({ follow, zoom, x }, runs) {
  if (!follow || !zoom) return null;
  const ends = runs.map((ref) => endOf(ref, x)).filter((end) => end !== null);
  return ends.length ? followed(zoom, Math.max(...ends)) : null;
}

/**
 * The newest x of a run, as far as the table knows it.
 * @param {string} ref
 * @param {string} x
 * @returns {number | null}
 */
function endOf(ref, x) {
  const run = runAt(ref);
  if (!run) return null;
  if (x === "step") return run.step;
  if (x === "relative") return run.duration;
  return x === "time" && run.start_time !== null && run.duration !== null ? run.start_time + run.duration : null;
}
