/**
 * The metrics of a run as rows: one per metric, with what its definition asks for besides the last value. Pure functions.
 */

/** Aggregates that a summary may have under "key.min" and so on. */
const AGGREGATES = ["min", "max", "mean", "best", "first", "last"];

/**
 * @typedef {object} MetricRow
 * @property {string} key
 * @property {string} kind "number", "text", "histogram" or "media"; "value" for an entry of the summary that was never logged
 * @property {"maximize" | "minimize" | null} goal
 * @property {any} value what the summary has under the key
 * @property {[string, any][]} aggregates name and value
 */

/**
 * @param {any} run the answer of `GET runs/REF`
 * @param {{key: string, kind: string, goal: string | null}[]} keys
 * @returns {MetricRow[]} those with a goal first, then in the order in which they were logged
 */
export function metricRows(run, keys) {
  const summary = run.summary ?? {};
  const taken = new Set();
  /** @type {MetricRow[]} */
  const rows = keys.map(({ key, kind, goal }) => {
    taken.add(key);
    /** @type {[string, any][]} */
    const aggregates = [];
    for (const name of AGGREGATES) {
      if (`${key}.${name}` in summary && !keys.some((other) => other.key === `${key}.${name}`)) {
        taken.add(`${key}.${name}`);
        if (name !== "last") aggregates.push([name, summary[`${key}.${name}`]]);
      }
    }
    const single = run.aggregates?.[key];
    if (single && single !== "last") aggregates.push([single, summary[key]]);
    const direction = /** @type {any} */ (goal ?? run.goals?.[key] ?? null);
    return { key, kind, goal: direction, value: summary[`${key}.last`] ?? summary[key] ?? null, aggregates };
  });
  for (const [key, value] of Object.entries(summary)) {
    if (!taken.has(key)) rows.push({ key, kind: "value", goal: run.goals?.[key] ?? null, value, aggregates: [] });
  }
  return [...rows.filter((row) => row.goal), ...rows.filter((row) => !row.goal)];
}
