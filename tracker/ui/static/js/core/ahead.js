/**
 * Sends the first requests while the rest of the page is loaded and started; api.js takes the answers. The page starts
 * this module by itself, before the others; so it imports nothing.
 */

/** @typedef {Record<string, string | number | boolean | null | undefined>} Params null and undefined are left out */

/** Base of all requests; the page may lie under a prefix. */
const BASE = new URL("api/v1/", location.href.replace(/[?#].*$/, "").replace(/[^/]*$/, ""));

/** Columns that every page needs. */
export const BASE_COLUMNS = ["id", "name", "project", "group", "tags", "notes", "state", "step", "start_time", "end_time", "duration", "color"];

/** Maximum age of an answer that is taken, in milliseconds. */
const MAX_AGE = 5000;

/** Answers that were not used yet, by address. @type {Map<string, Promise<Response>>} */
const answers = new Map();

/**
 * The address of a request.
 * @param {string} path under /api/v1, as "runs"
 * @param {Params} [params]
 * @returns {string}
 */
export function address(path, params = {}) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined) url.searchParams.set(name, String(value));
  }
  return url.href;
}

/**
 * The answer to a GET that was sent ahead, once.
 * @param {string} url
 * @returns {Promise<Response | null>} null if there is none, or it failed: then the request is sent as usual
 */
export async function take(url) {
  const answer = answers.get(url);
  answers.delete(url);
  const response = await answer?.catch(() => null);
  return response?.ok ? response : null;
}

/** @param {string} url */
function ask(url) {
  const answer = fetch(url, { credentials: "same-origin" });
  answer.catch(() => null); // `take` looks at it
  answers.set(url, answer);
}

if (!document.getElementById("saved")) {
  ask(address("meta"));
  ask(address("runs", { columns: BASE_COLUMNS.join(",") }));
  setTimeout(() => answers.clear(), MAX_AGE);
}
