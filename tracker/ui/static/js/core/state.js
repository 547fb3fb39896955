/**
 * The view: what the page shows, kept in the address. One signal, changed by `change`, undone by `undo`.
 */
import { parse, serialize, DEFAULTS } from "./address.js";
import { History } from "./history.js";
import { signal } from "./signal.js";
import { recall, remember } from "./storage.js";

/** @typedef {import("./address.js").View} View */
/** @typedef {import("./history.js").Step} Step */

export { parse, serialize, DEFAULTS };

/** A change of these adds an entry to the browser's history, which Back returns to; undo does not reverse it. */
const PLACES = ["page", "ref", "tab", "full"];

/** Fields that change in many small steps, by typing or dragging: steps in quick succession are undone together. */
const GRADUAL = ["query", "search", "widths", "split", "fold", "smooth", "zoom", "yZoom"];

/** What a change of a field is called when it is undone. @type {Record<string, string>} */
const LABELS = {
  runs: "selection", columns: "columns", widths: "column widths", sort: "sort order", filters: "filters", group: "grouping", seeds: "grouping", nested: "sections",
  baseline: "baseline", query: "query", pins: "pinned metrics", x: "x axis", logX: "log x", logY: "log y", logPanels: "log y",
  smooth: "smoothing", smoothKind: "smoothing", band: "band", outliers: "outliers", zoom: "zoom", yZoom: "zoom",
  writers: "writers", search: "search", folded: "folded sections", order: "order of panels", size: "size of panels",
  fold: "folded table", split: "width of the table", theme: "theme", project: "project",
  options: "settings of the page",
};

const history = new History();

/**
 * The view on the screen. Read `.value`, listen by `.subscribe`, change it by `change`.
 * @type {import("./signal.js").Signal<View>}
 */
export const view = signal({ ...structuredClone(DEFAULTS) });

/** Whether there is something to undo or redo. */
export const undoable = signal({ undo: false, redo: false });

/**
 * Change the view and the address.
 * @param {Partial<View>} patch
 * @param {{undo?: boolean, replace?: boolean}} [options] `undo`: whether it can be undone; `replace`: make no entry in the
 *   browser's history, even for another page
 */
export function change(patch, { undo: canUndo = true, replace = false } = {}) {
  const before = view.peek();
  /** @type {Partial<View>} */
  const changed = {};
  /** @type {Partial<View>} */
  const previous = {};
  for (const [name, value] of Object.entries(patch)) {
    const old = /** @type {any} */ (before)[name];
    if (same(old, value)) continue;
    /** @type {any} */ (changed)[name] = value;
    /** @type {any} */ (previous)[name] = old;
  }
  const names = Object.keys(changed);
  if (!names.length) return;
  const moved = names.some((name) => PLACES.includes(name));
  if (canUndo && names.some((name) => !PLACES.includes(name))) {
    record({
      label: label(names), merge: names.every((name) => GRADUAL.includes(name)) ? `view:${names.join()}` : undefined,
      undo: () => put(without(previous, PLACES), false), redo: () => put(without(changed, PLACES), false),
    });
  }
  put(changed, moved && !replace);
}

/**
 * Add a step that can be undone with `z`: an edit of a run, for example.
 * @param {Step} step
 * @returns {Step}
 */
export function record(step) {
  history.push(step);
  note();
  return step;
}

/** @param {Step} step a step that was undone by other means, or failed */
export function forget(step) {
  history.remove(step);
  note();
}

/** @returns {Step | null} the step that was undone */
export function undo() {
  const step = history.undo();
  note();
  return step;
}

/** @returns {Step | null} the step that was done again */
export function redo() {
  const step = history.redo();
  note();
  return step;
}

/** Read the address, and follow it from now on. */
export function startState() {
  const initial = parse(location.hash);
  if (initial.theme === "auto") initial.theme = recall("theme") ?? "auto";
  view.value = initial;
  write(false);
  addEventListener("popstate", follow);
  addEventListener("hashchange", follow);
}

function follow() {
  if (location.hash === serialize(view.peek())) return;
  const next = parse(location.hash);
  // An address that does not say which runs are selected keeps them.
  if (!next.chosen) [next.runs, next.slots] = [view.peek().runs, view.peek().slots];
  view.value = next;
}

/**
 * @param {Partial<View>} changed
 * @param {boolean} push
 */
function put(changed, push) {
  view.value = { ...view.peek(), ...changed };
  if (changed.theme) remember("theme", changed.theme);
  write(push);
}

/** @param {boolean} push */
function write(push) {
  const hash = serialize(view.peek());
  if (hash === location.hash) return;
  try {
    if (push) globalThis.history.pushState(null, "", hash);
    else globalThis.history.replaceState(null, "", hash);
  } catch {
    // A saved file, or more changes a second than the browser allows: the view is right, the address follows later.
  }
}

function note() {
  const next = { undo: history.canUndo, redo: history.canRedo };
  if (!same(next, undoable.peek())) undoable.value = next;
}

/** @param {string[]} names */
function label(names) {
  return LABELS[names.find((name) => LABELS[name]) ?? ""] ?? "view";
}

/**
 * @param {Partial<View>} patch
 * @param {string[]} names
 */
function without(patch, names) {
  return Object.fromEntries(Object.entries(patch).filter(([name]) => !names.includes(name)));
}

/**
 * @param {any} a
 * @param {any} b
 */
function same(a, b) {
  return Object.is(a, b) || (typeof a === "object" && JSON.stringify(a) === JSON.stringify(b));
}
