/**
 * Colours of runs: by a hash of the id, shifted only where two selected runs would have the same. Beyond ten, dashes.
 */
import { runs, valueOf } from "./runs.js";
import { computed } from "./signal.js";
import { view } from "./state.js";
import { theme } from "./theme.js";
import { SERIES_DARK, SERIES_LIGHT, assign, home, DASHES } from "./palette10.js";

export { SERIES_DARK, SERIES_LIGHT };

/** @typedef {{css: string, dash: number[]}} LineStyle `css` is a resolved colour, `dash` as for `setLineDash` */

/** Slots of the selected runs; kept while a run stays selected, so that hiding one changes no other. @type {Map<string, number>} */
let slots = new Map();

const assigned = computed(() => {
  slots = assign(view.value.runs, slots);
  return slots;
}, [view]);

/** Changes when any colour may have changed. */
export const palette = computed(() => ({ theme: theme.value, slots: assigned.value, custom: runs.value.columns.get("color") }), [theme, assigned, runs]);

/**
 * The line of a run: the same on every page.
 * @param {string} ref
 * @returns {LineStyle}
 */
export function colorOf(ref) {
  const colors = theme.value === "dark" ? SERIES_DARK : SERIES_LIGHT;
  const slot = assigned.value.get(ref) ?? home(ref);
  const dash = DASHES[Math.floor(slot / colors.length) % DASHES.length] ?? [];
  const custom = valueOf(ref, "color");
  const css = typeof custom === "string" && /^#[0-9a-f]{6}$/i.test(custom) ? custom : slotColor(custom, colors);
  return { css: css ?? /** @type {string} */ (colors[slot % colors.length]), dash };
}

/**
 * An edit may name a colour of the palette, so that it fits both themes: "series-3".
 * @param {any} custom
 * @param {readonly string[]} colors
 */
function slotColor(custom, colors) {
  const match = typeof custom === "string" ? /^series-(\d+)$/.exec(custom) : null;
  return match ? (colors[Number(match[1]) - 1] ?? null) : null;
}
