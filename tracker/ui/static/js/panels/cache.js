/**
 * Cache of series that were asked for, bounded in bytes, the longest unused dropped first. Knows nothing of requests.
 */

/**
 * @typedef {import("../core/api.js").Series} Series
 */

/** Overhead of a series apart from its arrays, in bytes: an estimate, so that many empty answers are bounded too. */
const OVERHEAD_BYTES = 400;

/**
 * Size of a series in memory, in bytes. Arrays that a raw series shares count once.
 * @param {Series} series
 * @returns {number}
 */
export function seriesBytes(series) {
  const arrays = new Set([series.x0, series.x1, series.low, series.high, series.mean, series.last, series.n, series.bad]);
  let total = OVERHEAD_BYTES;
  for (const array of arrays) if (array) total += array.byteLength;
  return total;
}

/** LRU cache: key → the series of one run and metric in one view. */
export class SeriesCache {
  /** @param {number} limitBytes */
  constructor(limitBytes) {
    this.limitBytes = limitBytes;
    this.bytes = 0;
    /** @type {Map<string, {series: Series[], bytes: number}>} */
    this.entries = new Map();
  }

  /**
   * @param {string} key
   * @returns {Series[] | undefined}
   */
  get(key) {
    const entry = this.entries.get(key);
    if (!entry) return undefined;
    this.entries.delete(key);
    this.entries.set(key, entry);
    return entry.series;
  }

  /**
   * @param {string} key
   * @param {Series[]} series
   */
  set(key, series) {
    this.delete(key);
    const bytes = series.reduce((sum, one) => sum + seriesBytes(one), OVERHEAD_BYTES);
    this.entries.set(key, { series, bytes });
    this.bytes += bytes;
    for (const oldest of this.entries.keys()) {
      if (this.bytes <= this.limitBytes || oldest === key) break;
      this.delete(oldest);
    }
  }

  /** @param {string} key */
  delete(key) {
    const entry = this.entries.get(key);
    if (!entry) return;
    this.entries.delete(key);
    this.bytes -= entry.bytes;
  }

  clear() {
    this.entries.clear();
    this.bytes = 0;
  }
}
