/**
 * Search over metric keys: what the search box of the charts page matches, and in which order the palette lists what it found. Pure functions.
 */

/**
 * @typedef {object} Search
 * @property {(key: string) => boolean} test
 * @property {string} error what is wrong with the text, or ""
 */

/**
 * Matcher of the text in the search box: every word must be part of the key, in any order and case; a word that starts with "-" must not be; text between slashes is a regular expression.
 * An invalid regular expression matches everything and says what is wrong with it.
 * @param {string} text
 * @returns {Search}
 */
export function parseSearch(text) {
  const trimmed = text.trim();
  if (!trimmed) return { test: () => true, error: "" };
  if (trimmed.length > 1 && trimmed.startsWith("/") && trimmed.endsWith("/")) {
    try {
      const pattern = new RegExp(trimmed.slice(1, -1), "iu");
      return { test: (key) => pattern.test(key), error: "" };
    } catch (error) {
      const reason = error instanceof Error ? error.message.replace(/^Invalid regular expression: /, "") : String(error);
      return { test: () => true, error: `Invalid regular expression ${reason}` };
    }
  }
  const words = trimmed.toLowerCase().split(/\s+/);
  const wanted = words.filter((word) => !word.startsWith("-") || word === "-");
  const unwanted = words.filter((word) => word.startsWith("-") && word !== "-").map((word) => word.slice(1));
  return {
    test(key) {
      const lower = key.toLowerCase();
      return wanted.every((word) => lower.includes(word)) && !unwanted.some((word) => lower.includes(word));
    },
    error: "",
  };
}

/**
 * How well a key fits the words: smaller is better, -1 is no match. A whole key beats a whole segment, a segment's start beats a word's start, that beats any other place; shorter keys come first.
 * @param {string} key
 * @param {string[]} words lower case
 * @returns {number}
 */
export function rankKey(key, words) {
  const lower = key.toLowerCase();
  let total = 0;
  for (const word of words) {
    let at = lower.indexOf(word);
    if (at < 0) return -1;
    let best = Infinity;
    for (; at >= 0; at = lower.indexOf(word, at + 1)) {
      const before = at === 0 ? "" : lower[at - 1], after = lower[at + word.length] ?? "";
      const starts = before === "" || before === "/" || before === ".";
      const ends = after === "" || after === "/" || after === ".";
      const cost = lower === word ? 0 : starts && ends ? 1 : starts ? 2 : /[^\p{L}\p{N}]/u.test(before) ? 3 : 4;
      best = Math.min(best, cost);
    }
    total += best;
  }
  return total * 1000 + Math.min(key.length, 999);
}

/**
 * Keys that match all words, the best first.
 * @param {string[]} keys
 * @param {string} text
 * @param {number} [limit]
 * @returns {string[]}
 */
export function rankKeys(keys, text, limit = 50) {
  const words = text.trim().toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return keys.slice(0, limit);
  /** @type {{key: string, rank: number}[]} */
  const found = [];
  for (const key of keys) {
    const rank = rankKey(key, words);
    if (rank >= 0) found.push({ key, rank });
  }
  found.sort((a, b) => a.rank - b.rank || (a.key < b.key ? -1 : 1));
  return found.slice(0, limit).map((entry) => entry.key);
}

/**
 * "3 of 20 metrics", "20 metrics", "1 metric": what the search box says beside itself.
 * @param {number} shown
 * @param {number} total
 * @returns {string}
 */
export function describeCount(shown, total) {
  const noun = total === 1 ? "metric" : "metrics";
  const format = (/** @type {number} */ n) => n.toLocaleString("en-US");
  return shown === total ? `${format(total)} ${noun}` : `${format(shown)} of ${format(total)} ${noun}`;
}
