/**
 * Actions on runs of the table, by keys, the menu of a row, and commands.
 */
import { h } from "../core/dom.js";
import { editable, remove } from "../core/edits.js";
import { bind } from "../core/keys.js";
import { openMenu } from "../core/menu.js";
import { addCommand, addSource, score } from "../core/palette.js";
import { columnInfos, runAt, runs } from "../core/runs.js";
import { signal } from "../core/signal.js";
import { change, view } from "../core/state.js";
import { toast } from "../core/toast.js";
import { editColor, editField, editTags } from "./editing.js";
import { FIRST, MOST_SELECTED, arrangement, select, setSelected } from "./model.js";

/** The run that keys act on. */
export const current = signal(/** @type {string | null} */ (null));

/** Run that was last selected by a click, for Shift-click. @type {string | null} */
let anchorRef = null;

const PAGES = { page: "runs|charts" };

/**
 * @param {string} ref
 * @param {{range?: boolean}} [options] `range`: everything from the last one to this
 */
export function toggle(ref, { range = false } = {}) {
  const { refs } = arrangement.peek();
  const on = !view.peek().runs.includes(ref);
  const [from, to] = [anchorRef === null ? -1 : refs.indexOf(anchorRef), refs.indexOf(ref)];
  if (range && from >= 0 && to >= 0) setSelected(refs.slice(Math.min(from, to), Math.max(from, to) + 1), true);
  else setSelected([ref], on);
  anchorRef = ref;
  current.value = ref;
}

/**
 * Show the page of a run.
 * @param {string} ref
 */
export function open(ref) {
  change({ page: "run", ref, tab: "" });
}

/** @param {string} ref makes it the baseline, or removes the baseline if it is one already */
export function toggleBaseline(ref) {
  change({ baseline: view.peek().baseline === ref ? "" : ref });
}

/** Runs that an action is for: the selected ones if `ref` is one of them and there are several, else `ref`. @param {string} ref */
function targets(ref) {
  const chosen = view.peek().runs.filter((one) => runs.peek().index.has(one));
  return view.peek().chosen && chosen.length > 1 && chosen.includes(ref) ? chosen : [ref];
}

/**
 * The menu of a row.
 * @param {import("../core/menu.js").Anchor} anchor
 * @param {string} ref
 * @param {(field: "name" | "tags" | "notes") => Element} cellOf
 */
export function openRowMenu(anchor, ref, cellOf) {
  const run = runAt(ref);
  if (!run) return;
  const some = targets(ref);
  const can = editable([ref]);
  const canAll = editable(some);
  const isOn = view.value.runs.includes(ref);
  const many = some.length > 1 ? ` ${some.length} selected runs` : "";
  const why = can ? undefined : "These runs are read-only here.";
  const point = anchor instanceof Element ? anchor : { ...anchor };
  openMenu(anchor, [
    { label: "Open", keys: "Enter", run: () => open(ref) },
    { label: isOn ? "Hide in charts" : "Show in charts", keys: "Space", run: () => toggle(ref) },
    { label: "Show only this run", run: () => select([ref]) },
    { label: view.value.baseline === ref ? "Unpin the baseline" : "Pin as baseline", keys: "b", run: () => toggleBaseline(ref) },
    { label: "Compare the selected runs", keys: "c", disabled: view.value.runs.length < 2, run: () => change({ page: "compare" }) },
    "-",
    { label: "Rename…", keys: "F2", disabled: !can, title: why, run: () => editField(cellOf("name"), ref, "name") },
    { label: many ? `Tags of${many}…` : "Tags…", disabled: !canAll, title: why, run: () => (some.length > 1 ? editTags(point, some) : editField(cellOf("tags"), ref, "tags")) },
    { label: "Notes…", disabled: !can, title: why, run: () => editField(cellOf("notes"), ref, "notes") },
    { label: "Color…", disabled: !canAll, title: why, run: () => editColor(point, some) },
    "-",
    { label: "Copy name", run: () => void copy(run.name) },
    { label: "Copy id", run: () => void copy(run.id) },
    "-",
    { label: many ? `Delete${many}` : "Delete", danger: true, disabled: !canAll, title: why, run: () => void remove(some) },
  ], { label: `Actions for ${run.name}` });
}

/** @param {string} text */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied.");
  } catch {
    toast("The browser does not allow copying here.", { kind: "error" });
  }
}

/**
 * The menu of the box in the footer and of the header: select by amount.
 * @param {Element} anchor
 */
export function openSelectMenu(anchor) {
  const { refs } = arrangement.peek();
  const all = Math.min(refs.length, MOST_SELECTED);
  openMenu(anchor, [
    { label: `Select the first ${Math.min(FIRST, refs.length)}`, disabled: refs.length === 0, run: () => select(refs.slice(0, FIRST)) },
    { label: refs.length > MOST_SELECTED ? `Select the first ${MOST_SELECTED}` : `Select all ${all}`, disabled: refs.length === 0, run: () => select(refs.slice(0, all)) },
    { label: "Select none", disabled: view.value.runs.length === 0, run: () => select([]) },
    { label: "Follow the table: its first runs are selected", checked: !view.value.chosen, run: () => change({ chosen: false, runs: refs.slice(0, FIRST) }) },
  ], { label: "Selection" });
}

/**
 * Keys and commands of the table.
 * @param {{move: (by: number) => void, cellOf: (ref: string, field: string) => Element | null, page: () => number}} table
 */
export function bindTable({ move, cellOf, page }) {
  const withCurrent = (/** @type {(ref: string) => void} */ act) => () => {
    const ref = current.peek() ?? arrangement.peek().refs[0];
    if (ref) act(ref);
  };
  const field = (/** @type {string} */ ref, /** @type {"name" | "tags" | "notes"} */ name) => {
    const cell = cellOf(ref, name);
    if (cell) editField(cell, ref, name);
  };
  bind("j", "Next run", () => move(1), PAGES);
  bind("k", "Previous run", () => move(-1), PAGES);
  bind("Space", "Show or hide in charts", withCurrent(toggle), PAGES);
  bind("Enter", "Open the run", withCurrent(open), PAGES);
  bind("b", "Pin as baseline", withCurrent(toggleBaseline), PAGES);
  bind("F2", "Rename", withCurrent((ref) => field(ref, "name")), PAGES);
  bind("c", "Compare the selected runs", () => {
    if (view.peek().runs.length < 2) toast("Select two or more runs to compare them.");
    else change({ page: "compare" });
  }, PAGES);
  bind("PageDown", "", () => move(page()), PAGES);
  bind("PageUp", "", () => move(-page()), PAGES);
  addCommand({ label: "Select no runs", run: () => select([]) });
  addCommand({ label: `Select the first ${FIRST} runs`, run: () => select(arrangement.peek().refs.slice(0, FIRST)) });
  addCommand({ label: "Stop grouping", run: () => change({ group: [] }) });
  addCommand({ label: "Clear all filters", run: () => change({ filters: {}, query: "", project: "" }) });
  addCommand({ label: "Sort by newest", run: () => change({ sort: "-start_time" }) });
  addSource(findRuns);
  addSource(findMetrics);
}

/** Metrics found by text: the charts are searched for them. @param {string} text */
function findMetrics(text) {
  const words = text.split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  return columnInfos.peek().filter((one) => one.kind === "summary").map((one) => ({ key: one.name.slice("summary.".length), rank: score(one.name.slice(8).toLowerCase(), words) }))
    .filter((one) => one.rank > 0).sort((a, b) => b.rank - a.rank).slice(0, 20)
    .map(({ key }) => ({ kind: "Metric", label: key, run: () => change({ page: view.peek().page === "runs" ? "runs" : "charts", search: key }) }));
}

/** Runs found by text. @param {string} text */
function findRuns(text) {
  const words = text.split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const { refs, columns } = runs.peek();
  const names = columns.get("name") ?? [];
  const ids = columns.get("id") ?? [];
  const times = columns.get("start_time") ?? [];
  /** @type {{ref: string, rank: number, name: string, time: number}[]} */
  const found = [];
  refs.forEach((ref, row) => {
    const name = String(names[row] ?? "");
    const rank = Math.ceil(score(`${name} ${ids[row]}`.toLowerCase(), words));
    if (rank > 0) found.push({ ref, rank, name, time: times[row] ?? 0 });
  });
  return found.sort((a, b) => b.rank - a.rank || b.time - a.time).slice(0, 20).map(({ ref, name }) => ({ kind: "Run", label: name, detail: ref, run: () => open(ref) }));
}

/** An element to show a menu at if the row's cell is not on the screen. */
export function fallbackAnchor() {
  return document.querySelector(".runs-table") ?? h("div", null);
}
