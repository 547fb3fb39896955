/**
 * Sections of the charts page: which section a metric belongs to, what its panel is called there, and in which order sections and panels stand.
 * Pure functions; they know nothing of the page.
 */

/**
 * @typedef {object} KeyInfo
 * @property {string} key
 * @property {number} [runs] number of the selected runs that logged it
 * @property {string} [kind] "number", "text", "histogram" or "media"
 * @property {string | null} [step_metric]
 * @property {string | null} [goal]
 */

/**
 * @typedef {object} Section
 * @property {string} id the prefix; "" holds the metrics without one, "\u2605" the pinned ones
 * @property {string} label
 * @property {boolean} folded
 * @property {string[]} keys in the order of their panels
 */

/** Id of the section of pinned metrics: no prefix can be equal to it, because it ends in a separator. */
export const PINNED = "pinned/";

/** Sections that stand last: what the machine did is looked at after what the model did. */
const LAST = new Set(["system", "sys", "_system"]);
const SEPARATORS = "./";

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/**
 * Compare two names as people order them: "layer2" before "layer10".
 * @param {string} a
 * @param {string} b
 * @returns {number}
 */
export function compareNames(a, b) {
  return collator.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);
}

/**
 * Whether the character at `index` separates two segments of a key. A dot between two digits is part of a number ("recall@0.5"); a separator at an end, beside another separator or after a sign does not separate.
 * @param {string} key
 * @param {number} index
 * @returns {boolean}
 */
function separates(key, index) {
  const before = key[index - 1], after = key[index + 1];
  if (before === undefined || after === undefined) return false;
  if (SEPARATORS.includes(before) || SEPARATORS.includes(after)) return false;
  if (key[index] === "/") return true;
  return /[\p{L}\p{N}_)\]-]/u.test(before) && !(/\d/.test(before) && /\d/.test(after));
}

/**
 * Segments of a key: "val.top5/acc" → ["val", "top5", "acc"].
 * @param {string} key
 * @returns {string[]}
 */
export function segments(key) {
  const parts = [];
  let start = 0;
  for (let i = 0; i < key.length; i++) {
    if (!SEPARATORS.includes(key[i]) || !separates(key, i)) continue;
    parts.push(key.slice(start, i));
    start = i + 1;
  }
  parts.push(key.slice(start));
  return parts;
}

/**
 * The section of a key and the rest of its name. By default the first segment names the section; with `nested`, all but the last.
 * @param {string} key
 * @param {boolean} [nested]
 * @returns {{section: string, title: string}}
 */
export function splitKey(key, nested = false) {
  const parts = segments(key);
  if (parts.length === 1) return { section: "", title: key };
  const head = nested ? parts.slice(0, -1) : parts.slice(0, 1);
  const length = head.reduce((sum, part) => sum + part.length + 1, 0);
  return { section: key.slice(0, length - 1), title: key.slice(length) };
}

/**
 * Order of two sections: pinned, metrics without a prefix, then by name, the machine's last.
 * @param {string} a
 * @param {string} b
 * @returns {number}
 */
export function compareSections(a, b) {
  const rank = (/** @type {string} */ id) => id === PINNED ? 0 : id === "" ? 1 : LAST.has(segments(id)[0].toLowerCase()) ? 3 : 2;
  return rank(a) - rank(b) || compareNames(a, b);
}

/**
 * Sections of the page. `order` holds keys that the user has moved: within a section they stand in this order relative to each other, at the place that `arrange` gives them.
 * @param {string[]} keys
 * @param {{pins?: string[], order?: string[], folded?: string[], nested?: boolean}} [options]
 * @returns {Section[]}
 */
export function groupKeys(keys, { pins = [], order = [], folded = [], nested = false } = {}) {
  /** @type {Map<string, string[]>} */
  const bySection = new Map();
  for (const key of keys) {
    const { section } = splitKey(key, nested);
    const members = bySection.get(section);
    if (members) members.push(key);
    else bySection.set(section, [key]);
  }
  const present = new Set(keys);
  const pinned = pins.filter((key) => present.has(key));
  /** @type {Section[]} */
  const sections = pinned.length ? [{ id: PINNED, label: "Pinned", folded: folded.includes(PINNED), keys: pinned }] : [];
  for (const id of [...bySection.keys()].sort(compareSections)) {
    const members = /** @type {string[]} */ (bySection.get(id));
    sections.push({ id, label: id || "Metrics", folded: folded.includes(id), keys: arrange(members, order) });
  }
  return sections;
}

/**
 * Keys in the order of their panels: by name, except that an entry "a>b" of `order` puts a directly before b, and "a>" at the end.
 * Entries apply in turn, so that a later move has the last word; entries that name unknown keys are skipped.
 * @param {string[]} keys
 * @param {string[]} order
 * @returns {string[]}
 */
export function arrange(keys, order) {
  const sorted = [...keys].sort(compareNames);
  for (const entry of order) {
    const move = parseMove(entry);
    const from = sorted.indexOf(move.key);
    if (from < 0) continue;
    if (move.before === "") {
      sorted.splice(from, 1);
      sorted.push(move.key);
      continue;
    }
    if (!sorted.includes(move.before) || move.before === move.key) continue;
    sorted.splice(from, 1);
    sorted.splice(sorted.indexOf(move.before), 0, move.key);
  }
  return sorted;
}

/**
 * @param {string} entry
 * @returns {{key: string, before: string}}
 */
function parseMove(entry) {
  const [key, before = ""] = entry.split(">").map((part) => part.replaceAll("%3E", ">").replaceAll("%25", "%"));
  return { key, before };
}

/**
 * `order` with one more move: `key` directly before `before`, or to the end of its section for "". An earlier move of the same key is dropped where no other move refers to it.
 * @param {string[]} order
 * @param {string} key
 * @param {string} before
 * @returns {string[]}
 */
export function moveBefore(order, key, before) {
  const referred = order.some((entry) => parseMove(entry).before === key);
  const remaining = referred ? order : order.filter((entry) => parseMove(entry).key !== key);
  const escape = (/** @type {string} */ text) => text.replaceAll("%", "%25").replaceAll(">", "%3E");
  return [...remaining, `${escape(key)}>${escape(before)}`];
}

/**
 * `order` after a move of `key` by `delta` places among `keys` (its section, in the present order), or null where it cannot move so far.
 * @param {string[]} order
 * @param {string[]} keys
 * @param {string} key
 * @param {number} delta
 * @returns {string[] | null}
 */
export function moveBy(order, keys, key, delta) {
  const from = keys.indexOf(key);
  const to = from + delta;
  if (from < 0 || to < 0 || to >= keys.length || delta === 0) return null;
  const others = keys.filter((other) => other !== key);
  return moveBefore(order, key, others[to] ?? "");
}

/**
 * The order in which sections leave few holes: each in its turn, and beside one that does not fill its row the next ones that fit there.
 * @param {number[]} spans columns of each section
 * @param {number} columns
 * @returns {number[]} indexes of sections
 */
export function pack(spans, columns) {
  const remaining = spans.map((_, i) => i);
  const order = [];
  while (remaining.length) {
    let room = columns;
    for (let at = 0; at < remaining.length && room > 0;) {
      const i = remaining[at];
      // The first one of a row is taken whatever its size.
      if (spans[i] > room && room < columns) at += 1;
      else {
        room -= spans[i];
        order.push(i);
        remaining.splice(at, 1);
      }
    }
  }
  return order;
}
