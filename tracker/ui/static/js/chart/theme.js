/**
 * Colours and font of the page's theme, read from CSS variables once per change of the theme.
 *
 * @typedef {object} Theme
 * @property {string} surface
 * @property {string} line Axis lines.
 * @property {string} grid
 * @property {string} cursor
 * @property {string} text
 * @property {string} muted
 * @property {string} accent
 * @property {string} bad
 * @property {string} warn
 * @property {string} font Font family.
 */

/** @type {Theme | null} */
let current = null;
let watching = false;
/** @type {Set<() => void>} */
const listeners = new Set();

/** @returns {Theme} */
export function theme() {
  if (!current) {
    watch();
    current = read();
  }
  return current;
}

/**
 * Calls back after the theme changed.
 * @param {() => void} callback
 * @returns {() => void} Stops it.
 */
export function onTheme(callback) {
  watch();
  listeners.add(callback);
  return () => listeners.delete(callback);
}

/** @returns {Theme} */
function read() {
  const style = getComputedStyle(document.documentElement);
  const value = (/** @type {string} */ name, /** @type {string} */ fallback) => style.getPropertyValue(name).trim() || fallback;
  return {
    surface: value("--surface", "#ffffff"),
    line: value("--line", "#d8dbe0"),
    grid: value("--grid", "#eceff3"),
    cursor: value("--cursor", "#5b6470"),
    text: value("--text", "#1b1f24"),
    muted: value("--muted", "#5b6470"),
    accent: value("--accent", "#2563c9"),
    bad: value("--bad", "#c22f2f"),
    warn: value("--warn", "#8a5a00"),
    font: getComputedStyle(document.body).fontFamily || "system-ui, sans-serif",
  };
}

function watch() {
  if (watching) return;
  watching = true;
  const changed = () => {
    const before = JSON.stringify(current);
    current = read();
    if (JSON.stringify(current) !== before) for (const callback of listeners) callback();
  };
  new MutationObserver(changed).observe(document.documentElement, { attributes: true, attributeFilter: ["class", "data-theme", "style"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  window.addEventListener("load", changed);
}
