/**
 * Colours of runs: by a hash of the id, shifted only where two selected runs would have the same. Beyond ten, dashes.
 */
import { runs, valueOf } from "./runs.js";
import { isGroup } from "./groupkey.js";
import { computed, signal } from "./signal.js";
import { change, view } from "./state.js";
import { theme } from "./theme.js";
import { DASHES, NAMED, SERIES_DARK, SERIES_LIGHT, assign, deviations, home } from "./palette10.js";

export { SERIES_DARK, SERIES_LIGHT };

/** @typedef {{css: string, dash: number[]}} LineStyle `css` is a resolved colour, `dash` as for `setLineDash` */

/** Slots of the selected runs; kept while a run stays selected, so that hiding one changes no other. @type {Map<string, number>} */
let slots = new Map();
/** What `slots` were made of. @type {{runs: string[], slots: Record<string, string> | null}} */
let made = { runs: [], slots: null };

const assigned = computed(() => {
  const { runs: refs, slots: fixed, chosen } = view.value;
  if (made.runs === refs && made.slots === fixed) return slots;
  // Slots of an address come first; a changed selection keeps those that it has.
  const next = assign(refs, made.slots === fixed ? slots : fixedSlots(fixed));
  made = { runs: refs, slots: fixed };
  if (next.size !== slots.size || [...next].some(([ref, slot]) => slots.get(ref) !== slot)) slots = next;
  if (chosen) queueMicrotask(write);
  return slots;
}, [view]);

/**
 * @param {Record<string, string>} fixed as an address has them
 * @returns {Map<string, number>}
 */
function fixedSlots(fixed) {
  return new Map(Object.entries(fixed).flatMap(([ref, slot]) => (/^\d{1,4}$/.test(slot) ? [[ref, Number(slot)]] : [])));
}

/** Put into the address what the colours of the selection cannot be told from otherwise. */
function write() {
  const { runs: refs, slots: fixed } = view.peek();
  if (made.runs !== refs || made.slots !== fixed) return;
  change({ slots: Object.fromEntries([...deviations(refs, slots)].map(([ref, slot]) => [ref, String(slot)])) }, { undo: false, replace: true });
}

/** Colours that people chose, as one text: tells whether any changed. */
const custom = computed(() => {
  const { refs, columns } = runs.value;
  return (columns.get("color") ?? []).flatMap((color, row) => (color === null ? [] : [`${refs[row]}=${color}`])).join();
}, [runs]);

/** Slots of the groups that charts show. @type {import("./signal.js").Signal<Map<string, number>>} */
const groups = signal(/** @type {Map<string, number>} */ (new Map()));

/**
 * Tell which groups charts show, so that no two have one colour. A group that stays keeps its own.
 * @param {string[]} ids
 */
export function showGroups(ids) {
  const before = groups.peek();
  if (ids.length === before.size && ids.every((id) => before.has(id))) return;
  groups.value = assign(ids, before);
}

/** @param {Map<string, number>} slotted */
const asText = (slotted) => [...slotted].map(([id, slot]) => `${id}=${slot}`).join();

/** Changes when any colour may have changed. */
export const palette = computed(() => `${theme.value} ${custom.value} ${asText(assigned.value)} ${asText(groups.value)}`, [theme, assigned, custom, groups]);

/**
 * The line of a run or a group: the same on every page.
 * @param {string} ref a run, or the id of a group
 * @returns {LineStyle}
 */
export function colorOf(ref) {
  const colors = theme.value === "dark" ? SERIES_DARK : SERIES_LIGHT;
  const slot = (isGroup(ref) ? groups : assigned).value.get(ref) ?? home(ref);
  const dash = DASHES[Math.floor(slot / colors.length) % DASHES.length] ?? [];
  const own = isGroup(ref) ? null : valueOf(ref, "color");
  const css = typeof own === "string" && /^#[0-9a-f]{6}$/i.test(own) ? own : namedColor(own);
  return { css: css ?? /** @type {string} */ (colors[slot % colors.length]), dash };
}

/**
 * The color with a name that an edit may have, such as "blue", in the theme in use.
 * @param {any} name
 * @returns {string | null} null for any other name
 */
export function namedColor(name) {
  return typeof name === "string" && Object.hasOwn(NAMED, name) ? NAMED[name][theme.value === "dark" ? 1 : 0] : null;
}
