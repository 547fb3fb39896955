/**
 * What names a group of runs: the values that its runs share. The same in the table, in charts and for colours. Pure.
 */

/** Prefix of the ids of groups, which no run's id has. */
const PREFIX = "group:";

/**
 * @param {any[]} values of the fields by which runs are grouped; null for none
 * @returns {string}
 */
export function groupId(values) {
  return PREFIX + JSON.stringify(values.map((value) => (value === undefined ? null : typeof value === "number" && !Number.isFinite(value) ? String(value) : value)));
}

/**
 * @param {string} id of a run or a group
 * @returns {boolean}
 */
export function isGroup(id) {
  return id.startsWith(PREFIX);
}
