/**
 * The binary answer of `POST series` as typed arrays. Pure functions.
 *
 * Layout: u32 length of the JSON head, the head padded with spaces so that what follows is 8-byte aligned, then arrays.
 */

/**
 * @typedef {object} Series One series in buckets, or as raw points (then x1 is x0, and low, high, last are mean).
 * @property {number} panel index of the panel in the request
 * @property {string} key
 * @property {string} run ref
 * @property {string} writer
 * @property {string | null} label
 * @property {number} total points of the series in all
 * @property {boolean} raw
 * @property {Float64Array} x0
 * @property {Float64Array} x1
 * @property {Float64Array | Float32Array} low
 * @property {Float64Array | Float32Array} high
 * @property {Float64Array | Float32Array} mean
 * @property {Float64Array | Float32Array} last
 * @property {Uint32Array} n finite values in the bucket
 * @property {Uint32Array} bad buckets: values that are not finite; raw points: 0 finite, 1 NaN, 2 +inf, 3 −inf
 *
 * @typedef {object} SeriesAnswer
 * @property {Series[]} series
 * @property {{run: string, key: string, message: string}[]} errors
 * @property {string} cursor
 */

/** @type {Record<string, (buffer: ArrayBuffer, offset: number, count: number) => any>} */
const KINDS = {
  f8: (buffer, offset, count) => new Float64Array(buffer, offset, count),
  f4: (buffer, offset, count) => new Float32Array(buffer, offset, count),
  u4: (buffer, offset, count) => new Uint32Array(buffer, offset, count),
};

/**
 * @param {ArrayBuffer} buffer
 * @returns {SeriesAnswer}
 */
export function decodeSeries(buffer) {
  const size = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  const start = 4 + size;
  /** @param {any} one */
  const decode = (one) => {
    /** @param {string} name */
    const array = (name) => {
      const place = one.arrays[name];
      return place ? KINDS[place[1]](buffer, start + place[0], one.count) : null;
    };
    const x0 = array("x0");
    const mean = array("mean");
    return {
      panel: one.panel, key: one.key, run: one.run, writer: one.writer, label: one.label ?? null, total: one.total, raw: one.raw,
      x0, x1: array("x1") ?? x0, low: array("low") ?? mean, high: array("high") ?? mean, mean, last: array("last") ?? mean,
      n: array("n") ?? new Uint32Array(one.count).fill(1), bad: array("bad") ?? new Uint32Array(one.count),
    };
  };
  return { series: head.series.map(decode), errors: head.errors ?? [], cursor: head.cursor ?? "" };
}

/**
 * The values of a column of `GET runs`: plain, or by dictionary. "NaN" and the infinities become numbers where the
 * column has numbers.
 * @param {{values?: any[], dictionary?: any[], index?: (number | null)[]}} column
 * @returns {any[]}
 */
export function decodeColumn(column) {
  if (column.values) {
    const some = column.values.some((value) => typeof value === "number");
    const all = column.values.every((value) => value === null || typeof value === "number" || NAMED.has(value));
    return some || all ? column.values.map(numeric) : column.values;
  }
  const dictionary = column.dictionary ?? [];
  return (column.index ?? []).map((at) => (at === null || at < 0 ? null : dictionary[at]));
}

/** Numbers that JSON lacks. */
const NAMED = new Map([["NaN", NaN], ["Infinity", Infinity], ["-Infinity", -Infinity]]);

/** @param {any} value */
function numeric(value) {
  return typeof value === "string" ? (NAMED.get(value) ?? value) : value;
}
