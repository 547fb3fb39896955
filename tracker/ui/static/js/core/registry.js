/**
 * Where features plug in: tabs of a run's page, and kinds of panels. A feature registers itself; the pages ask.
 */
import { signal } from "./signal.js";

/**
 * @typedef {object} Tab
 * @property {string} id as in the address
 * @property {string} label
 * @property {number} order tabs stand in ascending order
 * @property {(run: any) => boolean} [when] whether the run has it; always, if left out
 * @property {(node: HTMLElement, context: {ref: string, run: any, data: any}) => (() => void) | void} mount shows it in `node`; `data` is the
 *   live `RunData` of js/run/data.js; returns what
 *   ends it
 *
 * @typedef {object} PanelKind
 * @property {string} kind "number", "text", "histogram", "media" …
 * @property {(node: HTMLElement, context: any) => (() => void) | void} mount
 */

/** @type {import("./signal.js").Signal<Tab[]>} */
export const tabs = signal(/** @type {Tab[]} */ ([]));

/** @type {Map<string, PanelKind>} */
const kinds = new Map();

/** @param {Tab} tab replaces one of the same id */
export function addTab(tab) {
  tabs.value = [...tabs.value.filter((one) => one.id !== tab.id), tab].sort((a, b) => a.order - b.order);
}

/** @param {PanelKind} kind replaces one of the same kind */
export function addPanelKind(kind) {
  kinds.set(kind.kind, kind);
}

/**
 * @param {string} kind
 * @returns {PanelKind | null}
 */
export function panelKind(kind) {
  return kinds.get(kind) ?? null;
}
