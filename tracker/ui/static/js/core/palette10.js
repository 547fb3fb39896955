/**
 * The ten series colours of each theme, and which run gets which. Pure.
 */

/** For the light theme. @type {readonly string[]} */
export const SERIES_LIGHT = ["#1f5fd0", "#d1491b", "#118a4e", "#8a2fb8", "#b8860b", "#c2185b", "#0e8fa3", "#6b4a2b", "#5a6472", "#9ab800"];
/** For the dark theme. @type {readonly string[]} */
export const SERIES_DARK = ["#6ea0ff", "#ff8a5c", "#3ecf8e", "#c98bf0", "#e6b93c", "#ff6fa0", "#35c5dc", "#b98d62", "#9aa7b8", "#c8e63c"];

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
