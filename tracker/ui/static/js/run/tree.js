/**
 * Nested values as rows, for the config: one row for each leaf and for each map. Pure functions.
 */

/**
 * @typedef {object} Leaf
 * @property {string} key the whole key, its parts joined with dots
 * @property {string} name the last part
 * @property {number} depth from 0
 * @property {any} value
 * @property {boolean} branch whether it is a map with rows below it
 * @property {number} size number of leaves below a branch
 */

/**
 * The rows of a map, in its order: a branch comes before what is below it.
 * @param {any} values
 * @returns {Leaf[]}
 */
export function rowsOf(values) {
  /** @type {Leaf[]} */
  const rows = [];
  /**
   * @param {any} map
   * @param {string} prefix
   * @param {number} depth
   * @returns {number} leaves added
   */
  const add = (map, prefix, depth) => {
    let leaves = 0;
    for (const [name, value] of Object.entries(map)) {
      const key = prefix ? `${prefix}.${name}` : name;
      const branch = isMap(value) && Object.keys(value).length > 0;
      /** @type {Leaf} */
      const row = { key, name, depth, value, branch, size: 0 };
      rows.push(row);
      if (branch) row.size = add(value, key, depth + 1);
      leaves += branch ? row.size : 1;
    }
    return leaves;
  };
  add(isMap(values) ? values : {}, "", 0);
  return rows;
}

/**
 * The rows that a search and folded branches leave. Words are looked for in the whole key and in the value; a branch stays where
 * something below it does.
 * @param {Leaf[]} rows
 * @param {string} search words, all of which must be there
 * @param {Set<string>} folded keys of folded branches; a search looks into them
 * @returns {Leaf[]}
 */
export function visibleRows(rows, search, folded) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length) {
    const keys = new Set();
    for (const row of rows) {
      if (row.branch) continue;
      const text = `${row.key} ${valueText(row.value)}`.toLowerCase();
      if (!words.every((word) => text.includes(word))) continue;
      keys.add(row.key);
    }
    return keepWithBranches(rows, keys);
  }
  /** @type {Leaf[]} */
  const result = [];
  let hiddenBelow = -1;
  for (const row of rows) {
    if (hiddenBelow >= 0 && row.depth > hiddenBelow) continue;
    hiddenBelow = row.branch && folded.has(row.key) ? row.depth : -1;
    result.push(row);
  }
  return result;
}

/**
 * @param {Leaf[]} rows
 * @param {Set<string>} keys of leaves
 */
function keepWithBranches(rows, keys) {
  /** @type {Leaf[]} */
  const result = [];
  /** @type {Leaf[]} */
  const path = [];
  for (const row of rows) {
    path.length = Math.min(path.length, row.depth);
    if (row.branch) {
      path[row.depth] = row;
    } else if (keys.has(row.key)) {
      for (const branch of path) if (!result.includes(branch)) result.push(branch);
      result.push(row);
    }
  }
  return result;
}

/**
 * A value as text on one line: what it would be in JSON, but for strings, which stand as they are.
 * @param {any} value
 * @returns {string}
 */
export function valueText(value) {
  if (typeof value === "string") return value === "" ? '""' : value;
  if (value === undefined || value === null) return "null";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/**
 * What a value is, for its colour: "string", "number", "boolean", "null" or "list".
 * @param {any} value
 * @returns {string}
 */
export function kindOf(value) {
  if (value === null || value === undefined) return "null";
  if (Array.isArray(value) || isMap(value)) return "list";
  if (value === "NaN" || value === "Infinity" || value === "-Infinity") return "number";
  return typeof value;
}

/** @param {any} value */
function isMap(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
