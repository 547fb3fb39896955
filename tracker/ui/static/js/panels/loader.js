/**
 * Loader: gets the series of the panels on the screen, in as few requests as possible. It keeps what it got in a bounded cache, asks again for runs that changed, and aborts what is no longer wanted.
 * It knows nothing of the page: requests, frames and timers are handed in.
 */

import { SeriesCache } from "./cache.js";
import { frameSignature } from "./frame.js";

/**
 * @typedef {import("../core/api.js").Series} Series
 *
 * @typedef {import("./frame.js").Frame} Frame
 *
 * @typedef {object} Want what one panel shows
 * @property {string} key
 * @property {string[]} runs
 * @property {number} count buckets: at most one for each CSS pixel
 * @property {boolean} near whether the panel is on the screen, not just beyond it
 * @property {Partial<Frame>} [own] where the panel differs from the frame: a zoom of its own
 *
 * @typedef {object} Answer
 * @property {Series[]} series of the runs that have answered, in the order of the runs
 * @property {number} pending number of runs that have not answered yet
 * @property {{run: string, message: string}[]} errors
 * @property {string} failure message of a request that failed, or ""
 *
 * @typedef {object} SeriesRequest
 * @property {string} x
 * @property {number | null} low
 * @property {number | null} high
 * @property {boolean} log_x
 * @property {number} margin
 * @property {"apart" | "together"} writers
 * @property {{key: string, runs: string[], count: number}[]} panels
 *
 * @typedef {object} SeriesAnswer
 * @property {Series[]} series
 * @property {{run: string, key: string, message: string}[]} errors
 *
 * @typedef {object} Parts
 * @property {(request: SeriesRequest, options: {signal: AbortSignal}) => Promise<SeriesAnswer>} fetch
 * @property {(panel: string, answer: Answer) => void} deliver
 * @property {(fn: () => void) => void} schedule run `fn` before the next frame
 * @property {(fn: () => void, seconds: number) => void} later
 *
 * @typedef {object} Batch
 * @property {AbortController} controller
 * @property {string} signature of its frame
 * @property {Frame} frame
 * @property {Map<string, number>} versions cache key → version of the run when it was asked for
 */

/** Maximum size of the cached series, in bytes. */
export const CACHE_BYTES = 48 * 1024 * 1024;
/** Maximum number of series in one request: more are split, so that the first charts do not wait for the last. */
export const BATCH_SERIES = 240;
/** Maximum number of panels in one request (the server's own limit). */
export const BATCH_PANELS = 200;
/** Maximum number of requests under way at once. */
const BATCHES = 2;
/** Back-off after a failed request, in seconds: first and longest. */
const BACKOFF = 1, BACKOFF_LIMIT = 15;

export class Loader {
  /** @param {Parts} parts */
  constructor(parts) {
    this.parts = parts;
    this.cache = new SeriesCache(CACHE_BYTES);
    /** @type {Map<string, Want>} */
    this.wants = new Map();
    /** @type {Frame} */
    this.frame = { x: "step", low: null, high: null, log_x: false, margin: 0, writers: "apart" };
    this.signature = frameSignature(this.frame);
    /** @type {Set<Batch>} */
    this.batches = new Set();
    /** @type {Map<string, number>} */
    this.versions = new Map();
    /** @type {Map<string, number>} cache key → version of the run that the cached series are of */
    this.loaded = new Map();
    /** @type {Map<string, string>} cache key → message of the server about this run and metric */
    this.messages = new Map();
    this.failure = "";
    this.failures = 0;
    this.scheduled = false;
    this.paused = false;
    this.closed = false;
    /** @type {Set<string>} panels to deliver before the next frame */
    this.dirty = new Set();
  }

  /**
   * Show another part of the data: requests of the former frame are aborted. With `delay` the new ones start only when no other frame has come for so many seconds.
   * @param {Frame} frame
   * @param {number} [delay]
   */
  setFrame(frame, delay = 0) {
    const signature = frameSignature(frame);
    if (signature === this.signature) return;
    this.frame = frame;
    this.signature = signature;
    for (const batch of this.batches) this.abort(batch);
    for (const panel of this.wants.keys()) this.dirty.add(panel);
    if (delay > 0) {
      this.paused = true;
      this.parts.later(() => {
        if (this.signature !== signature) return;
        this.paused = false;
        this.wake();
      }, delay);
    } else this.paused = false;
    this.wake();
  }

  /**
   * @param {string} panel
   * @param {Want} want
   */
  want(panel, want) {
    const former = this.wants.get(panel);
    this.wants.set(panel, want);
    if (former && former.key === want.key && former.count === want.count && sameRuns(former.runs, want.runs) && this.frameOf(former).signature === this.frameOf(want).signature) {
      if (former.near !== want.near) this.wake();
      return;
    }
    this.dirty.add(panel);
    this.wake();
  }

  /** @param {string} panel */
  drop(panel) {
    this.wants.delete(panel);
    this.dirty.delete(panel);
    if (!this.batches.size) return;
    const wanted = new Set();
    for (const want of this.wants.values()) for (const run of want.runs) wanted.add(this.cacheKey(want, run, this.frameOf(want).signature));
    for (const batch of this.batches) if (![...batch.versions.keys()].some((key) => wanted.has(key))) this.abort(batch);
  }

  /**
   * Ask again for these runs' series of the wanted panels; the old ones stay until the answer comes. Without `runs`: all.
   * @param {Iterable<string>} [runs]
   */
  refresh(runs) {
    const changed = runs ?? new Set([...this.wants.values()].flatMap((want) => want.runs));
    for (const run of changed) this.versions.set(run, (this.versions.get(run) ?? 0) + 1);
    this.wake();
  }

  /** Try again at once after a failure. */
  retry() {
    this.failures = 0;
    if (this.failure) {
      this.failure = "";
      for (const panel of this.wants.keys()) this.dirty.add(panel);
    }
    this.wake();
  }

  close() {
    this.closed = true;
    for (const batch of this.batches) this.abort(batch);
    this.wants.clear();
    this.dirty.clear();
    this.cache.clear();
  }

  wake() {
    if (this.scheduled || this.closed) return;
    this.scheduled = true;
    this.parts.schedule(() => {
      this.scheduled = false;
      if (!this.closed) this.step();
    });
  }

  /** Deliver what is there, then ask for what is missing. */
  step() {
    const panels = [...this.dirty];
    this.dirty.clear();
    for (const panel of panels) {
      const want = this.wants.get(panel);
      if (want) this.parts.deliver(panel, this.collect(want));
    }
    if (this.paused || this.failure) return;
    while (this.batches.size < BATCHES) {
      const asked = this.nextPanels(true) ?? (this.batches.size === 0 ? this.nextPanels(false) : null);
      if (!asked) break;
      void this.send(asked);
    }
  }

  /**
   * Panels of the next request, or null. Those on the screen come first; those beyond it wait until nothing is under way.
   * @param {boolean} near
   */
  nextPanels(near) {
    const busy = new Set();
    for (const batch of this.batches) for (const key of batch.versions.keys()) busy.add(key);
    /** @type {Map<string, {key: string, runs: string[], count: number}>} */
    const panels = new Map();
    /** @type {Map<string, number>} */
    const versions = new Map();
    /** @type {{frame: Frame, signature: string} | null} */
    let common = null;
    for (const want of this.wants.values()) {
      if (near && !want.near) continue;
      const own = this.frameOf(want);
      if (common && own.signature !== common.signature) continue;
      /** @type {string[]} */
      const runs = [];
      for (const run of want.runs) {
        const key = this.cacheKey(want, run, own.signature);
        const version = this.versions.get(run) ?? 0;
        if (busy.has(key) || versions.has(key) || this.fresh(want, run, version, own)) continue;
        versions.set(key, version);
        runs.push(run);
      }
      if (!runs.length) continue;
      common = own;
      const id = `${want.count}\n${want.key}`;
      const same = panels.get(id);
      if (same) same.runs.push(...runs);
      else panels.set(id, { key: want.key, runs, count: want.count });
      if (versions.size >= BATCH_SERIES || panels.size >= BATCH_PANELS) break;
    }
    return common ? { panels: [...panels.values()], versions, ...common } : null;
  }

  /** @param {{panels: {key: string, runs: string[], count: number}[], versions: Map<string, number>, frame: Frame, signature: string}} asked */
  async send({ panels, versions, frame, signature }) {
    /** @type {Batch} */
    const batch = { controller: new AbortController(), signature, frame, versions };
    this.batches.add(batch);
    try {
      const answer = await this.parts.fetch({ ...frame, panels }, { signal: batch.controller.signal });
      if (!this.batches.has(batch)) return;
      this.store(batch, panels, answer);
      this.failures = 0;
      this.failure = "";
    } catch (error) {
      if (!this.batches.has(batch)) return;
      this.failures += 1;
      this.failure = error instanceof Error ? error.message : String(error);
      for (const panel of this.wants.keys()) this.dirty.add(panel);
      const failures = this.failures;
      this.parts.later(() => {
        if (this.failures !== failures || !this.failure) return;
        this.failure = "";
        this.wake();
      }, Math.min(BACKOFF_LIMIT, BACKOFF * 2 ** (failures - 1)));
    } finally {
      this.batches.delete(batch);
      this.wake();
    }
  }

  /**
   * @param {Batch} batch
   * @param {{key: string, runs: string[], count: number}[]} panels
   * @param {SeriesAnswer} answer
   */
  store(batch, panels, answer) {
    const { frame } = batch;
    /** @type {Map<string, Series[]>} */
    const byRun = new Map();
    for (const panel of panels) for (const run of panel.runs) byRun.set(this.cacheKey(panel, run, batch.signature), []);
    const counts = panels.map((panel) => panel.count);
    for (const series of answer.series) {
      const count = counts[series.panel] ?? 0;
      byRun.get(this.cacheKey({ key: series.key, count }, series.run, batch.signature))?.push(series);
    }
    const errors = new Map(answer.errors.map((error) => [`${error.run}\n${error.key}`, error.message]));
    for (const panel of panels) {
      for (const run of panel.runs) {
        const key = this.cacheKey(panel, run, batch.signature);
        const series = byRun.get(key) ?? [];
        const message = errors.get(`${run}\n${panel.key}`);
        const version = batch.versions.get(key) ?? 0;
        if (message) this.messages.set(key, message);
        else this.messages.delete(key);
        this.cache.set(key, series);
        this.loaded.set(key, version);
        const whole = this.wholeKey(panel.key, run, frame);
        if (!message && frame.low === null && series.every((one) => one.raw && one.x0.length === one.total)) {
          this.cache.set(whole, series);
          this.loaded.set(whole, version);
        } else if ((this.loaded.get(whole) ?? -1) < version) {
          this.cache.delete(whole);
          this.loaded.delete(whole);
        }
      }
    }
    this.forget();
    const touched = new Set(panels.map((panel) => panel.key));
    for (const [panel, want] of this.wants) if (touched.has(want.key)) this.dirty.add(panel);
  }

  /** Drop what is known of entries that the cache has dropped. */
  forget() {
    if (this.loaded.size < 2 * this.cache.entries.size + 1000) return;
    for (const key of this.loaded.keys()) if (!this.cache.entries.has(key)) this.loaded.delete(key);
    for (const key of this.messages.keys()) if (!this.cache.entries.has(key)) this.messages.delete(key);
  }

  /**
   * @param {Want} want
   * @returns {Answer}
   */
  collect(want) {
    /** @type {Answer} */
    const answer = { series: [], pending: 0, errors: [], failure: this.failure };
    const { frame, signature } = this.frameOf(want);
    for (const run of want.runs) {
      const key = this.cacheKey(want, run, signature);
      const series = this.cache.get(key) ?? this.cache.get(this.wholeKey(want.key, run, frame));
      const message = this.messages.get(key);
      if (message) answer.errors.push({ run, message });
      if (series) answer.series.push(...series);
      else answer.pending += 1;
    }
    return answer;
  }

  /**
   * Whether the cache has this version of the run's series, in this frame or as all of its points.
   * @param {Want} want
   * @param {string} run
   * @param {number} version
   * @param {{frame: Frame, signature: string}} own
   */
  fresh(want, run, version, own) {
    for (const key of [this.cacheKey(want, run, own.signature), this.wholeKey(want.key, run, own.frame)]) {
      if (this.cache.entries.has(key) && (this.loaded.get(key) ?? -1) >= version) return true;
    }
    return false;
  }

  /**
   * The frame of a panel.
   * @param {Want} want
   * @returns {{frame: Frame, signature: string}}
   */
  frameOf(want) {
    if (!want.own) return { frame: this.frame, signature: this.signature };
    const frame = { ...this.frame, ...want.own };
    return { frame, signature: frameSignature(frame) };
  }

  /** @param {Batch} batch */
  abort(batch) {
    this.batches.delete(batch);
    batch.controller.abort();
    this.wake();
  }

  /**
   * @param {{key: string, count: number}} want
   * @param {string} run
   * @param {string} signature
   */
  cacheKey(want, run, signature) {
    return `${signature}\n${want.count}\n${want.key}\n${run}`;
  }

  /**
   * Cache key of all points of a series: they serve every range.
   * @param {string} key
   * @param {string} run
   * @param {Frame} frame
   */
  wholeKey(key, run, frame) {
    return `all ${frame.x}|${frame.writers}\n${key}\n${run}`;
  }
}

/**
 * @param {string[]} a
 * @param {string[]} b
 */
function sameRuns(a, b) {
  return a === b || (a.length === b.length && a.every((run, i) => run === b[i]));
}
