/**
 * What the page of a run shows, loaded once and again when the run changes. Knows the API, not the page.
 */
import { api } from "../core/api.js";
import { changed } from "../core/runs.js";
import { signal } from "../core/signal.js";

/**
 * @typedef {Record<string, any>} RunDetails the answer of `GET runs/REF`
 * @typedef {{key: string, kind: string, goal: string | null, step_metric: string | null, summary: any}} KeyInfo
 */

/** The run on the page, live. */
export class RunData {
  /** @param {string} ref */
  constructor(ref) {
    this.ref = ref;
    /** @type {import("../core/signal.js").Signal<RunDetails | null>} */
    this.details = signal(/** @type {RunDetails | null} */ (null));
    /** @type {import("../core/signal.js").Signal<KeyInfo[] | null>} */
    this.keys = signal(/** @type {KeyInfo[] | null} */ (null));
    /** @type {import("../core/signal.js").Signal<import("../core/api.js").ApiError | null>} */
    this.trouble = signal(/** @type {import("../core/api.js").ApiError | null} */ (null));
    this.closed = false;
    this.loading = false;
    this.again = false;
    this.end = changed.subscribe((refs) => {
      if (refs.has(ref)) void this.load();
    });
  }

  /** Load the run and its keys; while a load is under way, another one follows it. */
  async load() {
    if (this.loading) {
      this.again = true;
      return;
    }
    this.loading = true;
    try {
      do {
        this.again = false;
        const [details, keys] = await Promise.all([
          api.get(`runs/${encodeURIComponent(this.ref)}`),
          api.post("keys", { runs: [this.ref] }).catch(() => this.keys.peek() ?? []),
        ]);
        if (this.closed) return;
        this.trouble.value = null;
        if (JSON.stringify(keys) !== JSON.stringify(this.keys.peek())) this.keys.value = keys;
        this.details.value = details;
      } while (this.again);
    } catch (error) {
      if (!this.closed) this.trouble.value = /** @type {any} */ (error);
    } finally {
      this.loading = false;
    }
  }

  /**
   * A part of the run: `get("text", {key})` asks for `runs/REF/text?key=…`.
   * @param {string} path
   * @param {import("../core/api.js").Params} [params]
   * @param {{signal?: AbortSignal}} [options]
   */
  get(path, params, options) {
    return api.get(`runs/${encodeURIComponent(this.ref)}/${path}`, params, options);
  }

  close() {
    this.closed = true;
    this.end();
  }
}
