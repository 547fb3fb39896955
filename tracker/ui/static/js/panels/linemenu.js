/** The menu of a line in a chart: what can be done with its run, or with the runs of its group. */
import { openMenu } from "../core/menu.js";
import { runAt } from "../core/runs.js";
import { change, view } from "../core/state.js";

/**
 * @param {string} id of the line: a run or a group
 * @param {{x: number, y: number}} point
 * @param {import("./groups.js").Group[]} groups
 * @param {boolean} choosable whether the page shows selected runs, so that they can be hidden
 */
export function openLineMenu(id, point, groups, choosable) {
  const group = groups.find((one) => one.id === id);
  if (!group || !choosable) return;
  const { runs } = group;
  const select = (/** @type {string[]} */ refs) => change({ runs: refs, chosen: true });
  const others = () => view.peek().runs.filter((ref) => !runs.includes(ref));
  const open = (/** @type {string} */ ref) => change({ page: "run", ref, tab: "", full: "" });
  const several = runs.length > 1;
  openMenu(point, [
    { heading: group.label },
    ...(several ? [] : [{ label: "Open run", run: () => open(runs[0]) }]),
    { label: several ? `Hide these ${runs.length} runs` : "Hide run", run: () => select(others()) },
    { label: several ? `Only these ${runs.length} runs` : "Only this run", disabled: !others().length, run: () => select(runs) },
    ...(several ? [{ label: "Draw them apart", run: () => change({ group: [], seeds: false }) }, /** @type {"-"} */ ("-"), { heading: "Open a run" },
      ...runs.slice(0, MOST_RUNS).map((ref) => ({ label: runAt(ref)?.name ?? ref, run: () => open(ref) }))] : []),
  ], { label: `Actions for ${group.label}` });
}

/** Maximum number of a group's runs in the menu. */
const MOST_RUNS = 12;
