/**
 * Requests to the server, and whether it answers. In a saved file, answers come from the data in the file.
 */
import { address, take } from "./ahead.js";
import { decodeSeries } from "./decode.js";
import { loadSaved } from "./saved.js";
import { signal } from "./signal.js";

/** @typedef {import("./decode.js").Series} Series */
/** @typedef {import("./decode.js").SeriesAnswer} SeriesAnswer */

/** A request that failed: answered with an error, or not at all (`code` "unreachable"). */
export class ApiError extends Error {
  /**
   * @param {number} status 0 if there was no answer
   * @param {string} code
   * @param {string} message
   * @param {number | null} [position] where in a query
   */
  constructor(status, code, message, position = null) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.position = position;
  }
}

/**
 * Whether the server answers, since when it does not (Unix seconds), and when it answered last.
 */
export const connection = signal(/** @type {{ok: boolean, since: number, last: number}} */ ({ ok: true, since: 0, last: 0 }));

/** @type {string} */
let token = "";
const saved = loadSaved();

/** @param {string} value the token that writes need, from `GET meta` */
export function setToken(value) {
  token = value;
}

/**
 * @typedef {import("./ahead.js").Params} Params
 * @typedef {{signal?: AbortSignal}} Options
 */

export const api = {
  /** Whether the page is a saved file, without a server. */
  saved: saved !== null,

  /**
   * @param {string} path under /api/v1, as "runs"
   * @param {Params} [params]
   * @param {Options} [options]
   * @returns {Promise<any>} the JSON, or null for an empty answer (204)
   */
  async get(path, params = {}, options = {}) {
    if (saved) return saved.get(path, params);
    return readJson(await send(api.url(path, params), { signal: options.signal }));
  },

  /**
   * @param {string} path
   * @param {any} body
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  async post(path, body, options = {}) {
    if (saved) return saved.post(path, body);
    return readJson(await send(api.url(path), { method: "POST", body: JSON.stringify(body), signal: options.signal }));
  },

  /**
   * @param {string} path
   * @returns {Promise<any>}
   */
  async delete(path) {
    if (saved) throw new ApiError(403, "saved", "A saved file is read-only.");
    return readJson(await send(api.url(path), { method: "DELETE" }));
  },

  /**
   * `POST series`, decoded.
   * @param {any} request
   * @param {Options} [options]
   * @returns {Promise<Series[]>}
   */
  async series(request, options = {}) {
    return (await api.seriesAnswer(request, options)).series;
  },

  /**
   * `POST series` with what else the answer says: the errors of single series, the cursor.
   * @param {any} request
   * @param {Options} [options]
   * @returns {Promise<SeriesAnswer>}
   */
  async seriesAnswer(request, options = {}) {
    if (saved) return saved.series(request);
    return decodeSeries(await api.seriesBytes(request, options));
  },

  /**
   * `POST series` as it comes.
   * @param {any} request
   * @param {Options} [options]
   * @returns {Promise<ArrayBuffer>}
   */
  async seriesBytes(request, options = {}) {
    const response = await send(api.url("series"), { method: "POST", body: JSON.stringify(request), signal: options.signal });
    return response.arrayBuffer();
  },

  /**
   * The address of a request, for links and downloads.
   * @param {string} path
   * @param {Params} [params]
   * @returns {string}
   */
  url(path, params = {}) {
    return address(path, params);
  },
};

/**
 * @param {string} url
 * @param {RequestInit} init
 * @returns {Promise<Response>}
 */
async function send(url, init) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (init.body) headers["Content-Type"] = "application/json";
  if (token && init.method) headers["X-Tracker-Token"] = token;
  let response;
  try {
    // An edit outlives the page that is closed right behind it.
    response = (!init.method && await take(url)) || await fetch(url, { ...init, headers, credentials: "same-origin", keepalive: url.endsWith("/edits") });
  } catch (error) {
    if (/** @type {any} */ (error)?.name === "AbortError") throw error;
    lost();
    throw new ApiError(0, "unreachable", "The server does not answer.");
  }
  found();
  if (response.ok) return response;
  throw await problem(response);
}

/**
 * @param {Response} response
 * @returns {Promise<any>}
 */
async function readJson(response) {
  if (response.status === 204) return null;
  const text = await response.text();
  return text === "" ? null : JSON.parse(text);
}

/**
 * @param {Response} response
 * @returns {Promise<ApiError>}
 */
async function problem(response) {
  try {
    const { error } = await response.json();
    return new ApiError(response.status, error.code, error.message, error.position ?? null);
  } catch {
    return new ApiError(response.status, "error", `The server answered with status ${response.status}.`);
  }
}

/** The server did not answer. */
function lost() {
  const before = connection.peek();
  if (before.ok) connection.value = { ok: false, since: Date.now() / 1000, last: before.last };
}

/** The server answered. */
function found() {
  connection.value = { ok: true, since: 0, last: Date.now() / 1000 };
}
