/**
 * What this browser remembers between visits. Where storage is blocked or full, nothing is remembered.
 */

/**
 * @param {string} key
 * @returns {any} what was stored under `key`, or null
 */
export function recall(key) {
  try {
    return JSON.parse(localStorage.getItem(`tracker.${key}`) ?? "null");
  } catch {
    return null;
  }
}

/**
 * @param {string} key
 * @param {any} value stored as JSON
 */
export function remember(key, value) {
  try {
    localStorage.setItem(`tracker.${key}`, JSON.stringify(value));
  } catch {
    // Private windows and saved files may refuse; the page works without.
  }
}
