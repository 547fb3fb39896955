/**
 * The metrics that the shown runs logged: asked for when the selection changes, and again while runs change.
 */
import { api } from "../core/api.js";
import { signal } from "../core/signal.js";
import { whenVisible } from "../core/visible.js";

/** @typedef {import("./sections.js").KeyInfo} KeyInfo */

/** Shortest time between two requests while runs change, in milliseconds: with and without metrics to show. */
const EVERY = 5000, EVERY_EMPTY = 900;

export class Metrics {
  constructor() {
    /** @type {import("../core/signal.js").Signal<KeyInfo[]>} */
    this.keys = signal(/** @type {KeyInfo[]} */ ([]));
    /** Whether the first answer for the present runs is still awaited. */
    this.loading = signal(true);
    this.error = signal("");
    /** @type {string[]} */
    this.runs = [];
    this.asked = 0;
    this.closed = false;
    /** @type {AbortController | null} */
    this.request = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /** @param {string[]} runs */
  select(runs) {
    if (runs === this.runs) return;
    this.runs = runs;
    if (!runs.length) {
      this.request?.abort();
      this.request = null;
      this.keys.value = [];
      this.loading.value = false;
      return;
    }
    if (!this.keys.peek().length) this.loading.value = true;
    void this.ask();
  }

  /** Some of the runs changed: ask again, but not more often than needed. */
  changed() {
    if (!this.runs.length || this.timer !== undefined) return;
    const wait = this.asked + (this.keys.peek().length ? EVERY : EVERY_EMPTY) - performance.now();
    this.timer = setTimeout(() => {
      this.timer = undefined;
      void this.ask();
    }, Math.max(0, wait));
  }

  async ask() {
    this.request?.abort();
    const request = new AbortController();
    this.request = request;
    this.asked = performance.now();
    try {
      const keys = await api.post("keys", { runs: this.runs }, { signal: request.signal });
      if (this.request !== request) return;
      if (JSON.stringify(keys) !== JSON.stringify(this.keys.peek())) this.keys.value = keys;
      this.error.value = "";
    } catch (error) {
      if (this.request !== request) return;
      this.error.value = error instanceof Error ? error.message : String(error);
      this.timer ??= setTimeout(() => whenVisible(() => {
        this.timer = undefined;
        if (!this.closed) void this.ask();
      }), 3000);
    }
    this.loading.value = false;
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.request?.abort();
    this.request = null;
  }
}
