/**
 * The ten series colours of each theme, and which run gets which. Pure.
 *
 * The colours were found by a search: any two of a theme differ by at least 20 (CIEDE2000), also as people with deuteranopia
 * or protanopia see them. The same place has a similar hue in both themes.
 */

/** For the light theme. @type {readonly string[]} */
export const SERIES_LIGHT = ["#0e00b3", "#ff8e06", "#003601", "#41b3ff", "#885155", "#4566dc", "#ae5c00", "#8cb497", "#4e1737", "#7f8494"];
/** For the dark theme. @type {readonly string[]} */
export const SERIES_DARK = ["#7732d8", "#fd6112", "#ccffcf", "#05fefb", "#bb1c0b", "#1aa2fe", "#f3ff26", "#89a988", "#8f3b55", "#8f7d93"];

/**
 * Colors that a user can give a run by name, for the light and the dark theme: those of `tracker edit --color`.
 * @type {Readonly<Record<string, readonly [string, string]>>}
 */
export const NAMED = {
  blue: ["#1f4fd8", "#6ea8fe"], orange: ["#d9730d", "#ff9d4d"], green: ["#1f7a33", "#5fd38d"], red: ["#c62828", "#ff6b6b"],
  purple: ["#7732c8", "#b794f6"], brown: ["#8a5a2b", "#c79a6b"], pink: ["#d6409f", "#ff8ac4"], gray: ["#6b7280", "#a0a7b4"],
  olive: ["#7a7a12", "#c5c84a"], cyan: ["#0891b2", "#4dd6e8"],
};

/** Dash patterns of the first ten runs, the next ten, and so on. @type {readonly number[][]} */
export const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 2, 1, 2]];

const SIZE = 10;

/**
 * The slot that a run has when nothing is in its way.
 * @param {string} ref
 * @returns {number} 0 to 9
 */
export function home(ref) {
  let hash = 0x811c9dc5;
  for (let at = 0; at < ref.length; at += 1) hash = Math.imul(hash ^ ref.charCodeAt(at), 0x01000193);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x85ebca6b);
  return ((hash ^ (hash >>> 13)) >>> 0) % SIZE;
}

/**
 * A slot for each selected run: its home where free, else the next free one; when all ten are taken, the same again with
 * the next dash pattern. A run that had a slot keeps it.
 * @param {string[]} refs selected, in order
 * @param {Map<string, number>} before
 * @returns {Map<string, number>}
 */
export function assign(refs, before) {
  /** @type {Map<string, number>} */
  const result = new Map();
  /** @type {Set<number>} */
  const taken = new Set();
  for (const ref of refs) {
    const slot = before.get(ref);
    if (slot === undefined || taken.has(slot)) continue;
    result.set(ref, slot);
    taken.add(slot);
  }
  let level = 0;
  for (const ref of refs) {
    if (result.has(ref)) continue;
    const first = home(ref);
    for (let tries = 0; ; tries += 1) {
      if (tries === SIZE) {
        level += 1;
        tries = 0;
      }
      const slot = level * SIZE + ((first + tries) % SIZE);
      if (taken.has(slot)) continue;
      result.set(ref, slot);
      taken.add(slot);
      break;
    }
  }
  return result;
}

/**
 * The fewest slots, about, from which `assign` makes the rest: empty where the runs have what they would get together.
 * @param {string[]} refs
 * @param {Map<string, number>} slots as `assign` made them
 * @returns {Map<string, number>}
 */
export function deviations(refs, slots) {
  /** @type {Map<string, number>} */
  const result = new Map();
  for (let more = true; more;) {
    more = false;
    for (const [ref, slot] of assign(refs, result)) {
      const own = slots.get(ref);
      if (own === undefined || own === slot) continue;
      result.set(ref, own);
      more = true;
    }
  }
  return result;
}
