/**
 * Groups of runs on the charts page: which of the selected runs are drawn as one line with a band. Pure functions.
 *
 * `view.group` names the fields by which runs are grouped ("config.lr"). Empty: runs that differ only in their seed are folded; ["none"]: every run is a line of its own.
 */

import { groupId } from "../core/groupkey.js";

/**
 * @typedef {object} Group
 * @property {string} id id of the line: the ref of its only run, or that of the group
 * @property {string} label
 * @property {string[]} runs
 */

/** Value of `view.group` that switches grouping off, also the folding of seeds. */
export const UNGROUPED = "none";

/** Names under which people log a seed. */
const SEED = /(^|[._/-])(random_?|global_?|rng_?|np_?|torch_?)?seed$/i;

/**
 * Whether a config field is a seed.
 * @param {string} field "config.seed"
 * @returns {boolean}
 */
export function isSeed(field) {
  return SEED.test(field);
}

/**
 * The config fields in which runs differ, among `fields`.
 * @param {string[]} runs
 * @param {string[]} fields
 * @param {(ref: string, field: string) => unknown} valueOf
 * @returns {string[]}
 */
export function differingFields(runs, fields, valueOf) {
  if (runs.length < 2) return [];
  return fields.filter((field) => {
    const first = canonical(valueOf(runs[0], field));
    return runs.some((run) => canonical(valueOf(run, field)) !== first);
  });
}

/**
 * Fields by which runs are grouped though the user chose none: where at least two runs differ in nothing but a seed, all fields that differ except the seed; else null.
 * @param {string[]} runs
 * @param {string[]} fields
 * @param {(ref: string, field: string) => unknown} valueOf
 * @returns {string[] | null}
 */
export function seedFolding(runs, fields, valueOf) {
  if (runs.length < 2) return null;
  const differing = differingFields(runs, fields, valueOf);
  if (!differing.some(isSeed)) return null;
  return differing.every(isSeed) ? [] : null;
}

/**
 * Groups of the runs, in the order of each group's first run. `by` null: each run alone.
 * @param {string[]} runs
 * @param {string[] | null} by
 * @param {(ref: string, field: string) => unknown} valueOf
 * @param {(ref: string) => string} nameOf
 * @returns {Group[]}
 */
export function groupRuns(runs, by, valueOf, nameOf) {
  if (by === null) return runs.map((run) => ({ id: run, label: nameOf(run), runs: [run] }));
  /** @type {Map<string, Group>} */
  const groups = new Map();
  for (const run of runs) {
    const id = groupId(by.map((field) => valueOf(run, field)));
    const group = groups.get(id);
    if (group) group.runs.push(run);
    else groups.set(id, { id, label: labelOf(by, run, valueOf), runs: [run] });
  }
  for (const group of groups.values()) {
    if (group.runs.length === 1 && !by.length) group.label = nameOf(group.runs[0]);
    else if (!by.length) group.label = commonName(group.runs.map(nameOf));
  }
  return [...groups.values()];
}

/**
 * "lr 0.1, depth 3".
 * @param {string[]} by
 * @param {string} run
 * @param {(ref: string, field: string) => unknown} valueOf
 */
function labelOf(by, run, valueOf) {
  return by.map((field) => {
    const value = valueOf(run, field);
    return `${field.replace(/^(config|summary)\./, "")} ${value === null || value === undefined ? "not set" : String(value)}`;
  }).join(", ");
}

/**
 * What the names have in common, without a cut word or a dangling separator, and their number: "resnet-seed (5 runs)".
 * @param {string[]} names
 * @returns {string}
 */
export function commonName(names) {
  let common = names[0] ?? "";
  for (const name of names) {
    let length = 0;
    while (length < common.length && common[length] === name[length]) length += 1;
    common = common.slice(0, length);
  }
  if (common !== names[0]) common = common.replace(/[^\p{L}\p{N}]*[\p{N}]*$/u, "").replace(/[-_.=/: ]+$/u, "");
  const runs = `${names.length} runs`;
  return common.length >= 2 ? `${common} (${runs})` : runs;
}

/**
 * Text that is equal for equal values of a config field.
 * @param {unknown} value
 * @returns {string}
 */
function canonical(value) {
  return value === undefined || value === null ? "" : typeof value === "object" ? JSON.stringify(value) : `${typeof value}:${String(value)}`;
}
