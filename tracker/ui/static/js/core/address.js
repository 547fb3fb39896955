/**
 * The view as an address and back: `#/runs?query=…`. Pure functions; the page's state is in state.js.
 *
 * Parameters that have their default value are left out. Lists are joined by commas, maps are `name:text` pairs joined by
 * commas; only ambiguous characters are percent-encoded, so that an address stays readable and short.
 */

/**
 * @typedef {object} View Everything that an address holds.
 * @property {string} page "runs", "charts", "run" or "compare"
 * @property {string} ref the run of page "run"
 * @property {string} tab the tab of page "run"
 * @property {string} project only this project's runs; "" for all
 * @property {string[]} runs refs that are selected, that is, shown in charts
 * @property {boolean} chosen whether `runs` was chosen; until then the first of the table are selected
 * @property {string} query
 * @property {string[] | null} columns columns of the table; null for the default ones
 * @property {Record<string, string>} widths widths of columns in pixels, where changed
 * @property {string} sort columns joined by commas, "-" before one for descending
 * @property {Record<string, string>} filters column to condition
 * @property {string[]} group columns that rows and charts are grouped by
 * @property {boolean} seeds whether charts fold runs that differ only in their seed into one line
 * @property {boolean} nested whether sections of charts go by the whole prefix of a metric, not only by its first part
 * @property {string} baseline ref of the pinned run, or ""
 * @property {string[]} pins keys of metrics that are shown first
 * @property {string} x "auto" (each metric's step metric, else the step), "step", "relative", "time" or "metric:KEY"
 * @property {boolean} logX
 * @property {boolean} logY
 * @property {string[]} logPanels panels whose y axis differs from `logY`
 * @property {number} smooth half-life in units of x; 0 is off
 * @property {string} smoothKind "ema", "gaussian" or "mean"
 * @property {string} band "minmax", "std", "sem", "ci95" or "none"
 * @property {boolean} outliers true: outliers do not stretch the y range
 * @property {[number, number] | null} zoom range of x
 * @property {Record<string, [number, number]>} yZoom metric key to range of y
 * @property {boolean} linked whether zoom and cursor are linked
 * @property {string} writers "together" or "apart"
 * @property {string} search search of metrics
 * @property {string[]} folded folded sections
 * @property {string} full key of the panel in full screen, or ""
 * @property {string[]} order keys of panels that were moved
 * @property {string} size size of panels: "s", "m" or "l"
 * @property {boolean} follow whether the newest points stay in view
 * @property {boolean} fold whether the table is folded
 * @property {number} split the table's width in pixels; 0 for the default
 * @property {Record<string, string>} slots colours of selected runs, where they are not those that the runs would get together
 * @property {string} theme "auto", "light" or "dark"
 * @property {Record<string, string>} options settings of the pages of a run and of compare, by name
 */

/** @type {View} */
export const DEFAULTS = {
  page: "runs", ref: "", tab: "", project: "", runs: [], chosen: false, query: "", columns: null, widths: {},
  sort: "-start_time", filters: {}, group: [], seeds: true, nested: false, baseline: "", pins: [], x: "auto", logX: false, logY: false, logPanels: [],
  smooth: 0, smoothKind: "ema", band: "minmax", outliers: false, zoom: null, yZoom: {}, linked: true, writers: "together",
  search: "", folded: [], full: "", order: [], size: "m", follow: false, fold: false, split: 0, theme: "auto",
  slots: {}, options: {},
};

export const PAGES = ["runs", "charts", "run", "compare"];

/** Values a parameter may have, where there are few. @type {Record<string, string[]>} */
const CHOICES = {
  smoothKind: ["ema", "gaussian", "mean"], band: ["minmax", "std", "sem", "ci95", "none"], writers: ["together", "apart"],
  size: ["s", "m", "l"], theme: ["auto", "light", "dark"],
};

/** Fields that the path or other rules carry. */
const APART = new Set(["page", "ref", "tab", "chosen", "runs", "columns", "zoom", "yZoom"]);

/** Characters that mean nothing in a fragment and that neither browsers nor chat programs change. */
const PLAIN = /^[A-Za-z0-9\-._~$*/:;@,?=!]$/;

/**
 * @param {string} text
 * @param {string} [more] characters that have a meaning where the text stands
 */
function escape(text, more = "") {
  let result = "";
  for (const character of text) {
    if (character === " ") result += "+";
    else if (PLAIN.test(character) && !more.includes(character)) result += character;
    else result += percent(character);
  }
  return result;
}

/** @param {string} character */
function percent(character) {
  const code = character.charCodeAt(0);
  if (code < 128) return `%${code.toString(16).toUpperCase().padStart(2, "0")}`;
  try {
    return encodeURIComponent(character);
  } catch {
    return ""; // half of a surrogate pair cannot be in an address
  }
}

/** @param {string} text */
function unescape(text) {
  const spaced = text.replaceAll("+", " ");
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced;
  }
}

/** @param {string[]} items */
const joinList = (items) => items.map((item) => escape(item, ",")).join(",");
/** @param {string} text */
const splitList = (text) => (text === "" ? [] : text.split(",").map(unescape));
/** @param {[number, number]} range */
const joinRange = (range) => `${range[0]}:${range[1]}`;

/**
 * @param {string} text
 * @returns {[number, number] | null}
 */
function splitRange(text) {
  const [low, high] = text.split(":").map(Number);
  return low !== undefined && high !== undefined && Number.isFinite(low) && Number.isFinite(high) && low < high ? [low, high] : null;
}

/**
 * @param {string} text
 * @returns {[string, string][]}
 */
function splitMap(text) {
  return text === "" ? [] : text.split(",").map((pair) => {
    const at = pair.indexOf(":");
    return [unescape(at < 0 ? pair : pair.slice(0, at)), at < 0 ? "" : pair.slice(at + 1)];
  });
}

/**
 * The address of a view, beginning with "#/".
 * @param {View} view
 * @returns {string}
 */
export function serialize(view) {
  const path = view.page === "run" ? `#/run/${escape(view.ref, "/?")}${view.tab ? `/${escape(view.tab, "/?")}` : ""}` : `#/${view.page}`;
  /** @type {string[]} */
  const parts = [];
  for (const [name, standard] of Object.entries(DEFAULTS)) {
    const value = /** @type {any} */ (view)[name];
    if (name === "runs") {
      if (view.chosen) parts.push(`runs=${joinList(view.runs)}`);
    } else if (name === "columns") {
      if (view.columns) parts.push(`columns=${joinList(view.columns)}`);
    } else if (name === "zoom") {
      if (view.zoom) parts.push(`zoom=${joinRange(view.zoom)}`);
    } else if (name === "yZoom") {
      const pairs = Object.entries(view.yZoom);
      if (pairs.length) parts.push(`yZoom=${pairs.map(([key, range]) => `${escape(key, ",:")}:${joinRange(range)}`).join(",")}`);
    } else if (APART.has(name) || value === standard) {
      continue;
    } else if (Array.isArray(value)) {
      if (value.length) parts.push(`${name}=${joinList(value)}`);
    } else if (typeof value === "object") {
      const pairs = Object.entries(value);
      if (pairs.length) parts.push(`${name}=${pairs.map(([key, text]) => `${escape(key, ",:")}:${escape(String(text), ",")}`).join(",")}`);
    } else if (typeof value === "boolean") {
      parts.push(`${name}=${value ? 1 : 0}`);
    } else {
      parts.push(`${name}=${escape(String(value))}`);
    }
  }
  return parts.length ? `${path}?${parts.join("&")}` : path;
}

/**
 * The view of an address. Invalid values are left at their defaults.
 * @param {string} hash
 * @returns {View}
 */
export function parse(hash) {
  /** @type {View} */
  const view = { ...structuredClone(DEFAULTS) };
  const text = hash.replace(/^#?\/?/, "");
  const mark = text.indexOf("?");
  const [page, ...rest] = (mark < 0 ? text : text.slice(0, mark)).split("/").map(unescape);
  view.page = page && PAGES.includes(page) ? page : "runs";
  if (view.page === "run") [view.ref = "", view.tab = ""] = rest;
  if (view.page === "run" && !view.ref) view.page = "runs";
  for (const part of mark < 0 ? [] : text.slice(mark + 1).split("&")) {
    const at = part.indexOf("=");
    if (at > 0) assign(view, part.slice(0, at), part.slice(at + 1));
  }
  return view;
}

/**
 * @param {View} view
 * @param {string} name
 * @param {string} raw
 */
function assign(view, name, raw) {
  if (!Object.hasOwn(DEFAULTS, name)) return;
  const target = /** @type {any} */ (view);
  const standard = /** @type {any} */ (DEFAULTS)[name];
  if (name === "runs") {
    view.runs = splitList(raw);
    view.chosen = true;
  } else if (name === "columns") {
    view.columns = splitList(raw);
  } else if (name === "zoom") {
    view.zoom = splitRange(raw);
  } else if (name === "yZoom") {
    for (const [key, range] of splitMap(raw)) {
      const pair = splitRange(range);
      if (pair) view.yZoom[key] = pair;
    }
  } else if (APART.has(name)) {
    return;
  } else if (Array.isArray(standard)) {
    target[name] = splitList(raw);
  } else if (typeof standard === "object") {
    target[name] = Object.fromEntries(splitMap(raw).map(([key, value]) => [key, unescape(value)]));
  } else if (typeof standard === "boolean") {
    target[name] = raw === "1";
  } else if (typeof standard === "number") {
    if (Number.isFinite(Number(raw)) && raw !== "") target[name] = Number(raw);
  } else {
    const value = unescape(raw);
    if (!CHOICES[name] || CHOICES[name].includes(value)) target[name] = value;
  }
}
