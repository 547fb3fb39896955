/**
 * Values as text: numbers, durations, moments, sizes, names. Pure functions, the same on every page.
 */

/** Decimals of numbers in tables. */
const DIGITS = 4;
const MINUS = "\u2212";

/**
 * A value of a metric or a config, short: 0.0412, 1.5e−7, 12,345.
 * @param {unknown} value
 * @returns {string}
 */
export function number(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : `${MINUS}∞`;
  if (value === 0) return "0";
  const size = Math.abs(value);
  let text;
  if (Number.isInteger(value) && size < 1e9) text = group(String(size));
  else if (size >= 1e9 || size < 1e-3) text = exponential(size);
  else if (size >= 10 ** DIGITS) text = group(String(Math.round(size)));
  else text = trim(size.toPrecision(size < 0.01 ? DIGITS - 1 : DIGITS));
  return value < 0 ? MINUS + text : text;
}

/**
 * A number as exact as it is, for titles and copying.
 * @param {unknown} value
 * @returns {string}
 */
export function exact(value) {
  return typeof value === "number" ? (Number.isFinite(value) ? String(value) : number(value)) : String(value ?? "");
}

/** @param {number} size */
function exponential(size) {
  const [mantissa = "", exponent = ""] = size.toExponential(DIGITS - 2).split("e");
  return `${trim(mantissa)}e${exponent.replace("+", "").replace("-", MINUS)}`;
}

/** @param {string} text */
function trim(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** @param {string} digits */
function group(digits) {
  return digits.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/**
 * A label of an axis whose labels are `step` apart: as many decimals as tell neighbours apart, thousands shortened.
 * @param {number} value
 * @param {number} step
 * @returns {string}
 */
export function tick(value, step) {
  if (Math.abs(value) < Math.abs(step) * 1e-9) return "0";
  const size = Math.abs(value);
  const sign = value < 0 ? MINUS : "";
  for (const [unit, suffix] of /** @type {[number, string][]} */ ([[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])) {
    if (size >= unit) return sign + trim((size / unit).toFixed(decimals(step / unit))) + suffix;
  }
  if (size < 1e-4 || step < 1e-6) {
    const power = Math.floor(Math.log10(size));
    const mantissa = trim((size / 10 ** power).toFixed(decimals(step / 10 ** power)));
    return `${sign}${mantissa}e${power < 0 ? MINUS : ""}${Math.abs(power)}`;
  }
  return sign + size.toFixed(decimals(step));
}

/** @param {number} step */
function decimals(step) {
  if (!(step > 0) || !Number.isFinite(step)) return 3;
  let places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  // 0.25 needs one more place than 0.2.
  if (places < 12 && Math.abs(step * 10 ** places - Math.round(step * 10 ** places)) > 1e-6) places += 1;
  return Math.min(places, 12);
}

/**
 * A count, short: 950, 12.3k, 1.5M.
 * @param {number} n
 * @returns {string}
 */
export function count(n) {
  for (const [unit, suffix] of /** @type {[number, string][]} */ ([[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])) {
    if (n >= unit * (unit === 1e3 ? 10 : 0.9995)) {
      const size = n / unit;
      return (size >= 99.95 ? String(Math.round(size)) : trim(size.toFixed(1))) + suffix;
    }
  }
  return group(String(Math.round(n)));
}

/**
 * A count with all digits: 1,000,000.
 * @param {number} n
 * @returns {string}
 */
export function whole(n) {
  return n < 0 ? MINUS + group(String(Math.round(-n))) : group(String(Math.round(n)));
}

/**
 * A count and its noun: "1 run", "10,000 runs".
 * @param {number} n
 * @param {string} noun
 * @param {string} [plural]
 * @returns {string}
 */
export function plural(n, noun, plural = `${noun}s`) {
  return `${whole(n)} ${n === 1 ? noun : plural}`;
}

/**
 * A length of time: 0.3 s, 42 s, 3m 20s, 2h 10m, 3d 4h.
 * @param {number | null | undefined} seconds
 * @returns {string}
 */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "";
  const sign = seconds < 0 ? MINUS : "";
  const s = Math.abs(seconds);
  if (s < 1e-3) return s === 0 ? "0 s" : `${sign}${trim((s * 1e6).toPrecision(3))} µs`;
  if (s < 1) return `${sign}${trim((s * 1e3).toPrecision(3))} ms`;
  if (s < 9.95) return `${sign}${trim(s.toFixed(1))} s`;
  if (s < 59.5) return `${sign}${Math.round(s)} s`;
  const total = Math.round(s);
  const [d, hours, m, rest] = [Math.floor(total / 86400), Math.floor((total % 86400) / 3600), Math.floor((total % 3600) / 60), total % 60];
  if (d) return `${sign}${d}d${hours ? ` ${hours}h` : ""}`;
  if (hours) return `${sign}${hours}h${m ? ` ${m}m` : ""}`;
  return `${sign}${m}m${rest ? ` ${rest}s` : ""}`;
}

/**
 * A moment as local date and time: 2026-11-25 14:02:07.
 * @param {number | null | undefined} time Unix seconds
 * @returns {string}
 */
export function moment(time) {
  if (time === null || time === undefined || !Number.isFinite(time)) return "";
  const date = new Date(time * 1000);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(time)}`;
}

/**
 * The time of day: 14:02:07.
 * @param {number} time Unix seconds
 * @returns {string}
 */
export function clock(time) {
  const date = new Date(time * 1000);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** @param {number} n */
function two(n) {
  return String(n).padStart(2, "0");
}

/**
 * How long ago: just now, 3 min ago, 5 h ago, yesterday's as 1 day ago, 2026-03-01 beyond a month.
 * @param {number | null | undefined} time Unix seconds
 * @param {number} [now] Unix seconds
 * @returns {string}
 */
export function ago(time, now = Date.now() / 1000) {
  if (time === null || time === undefined || !Number.isFinite(time)) return "";
  const s = now - time;
  if (s < -60) return moment(time).slice(0, 16);
  if (s < 10) return "just now";
  if (s < 60) return `${Math.floor(s)} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
  if (s < 86400 * 31) return Math.floor(s / 86400) === 1 ? "1 day ago" : `${Math.floor(s / 86400)} days ago`;
  return moment(time).slice(0, 10);
}

/**
 * A size: 512 B, 1.5 KB, 20 MB.
 * @param {number | null | undefined} size in bytes
 * @returns {string}
 */
export function bytes(size) {
  if (size === null || size === undefined || !Number.isFinite(size)) return "";
  let value = size;
  let unit = "B";
  for (const next of ["KB", "MB", "GB", "TB"]) {
    if (value < 999.5) break;
    value /= 1000;
    unit = next;
  }
  return `${unit === "B" || value >= 99.95 ? Math.round(value) : trim(value.toFixed(1))} ${unit}`;
}

/**
 * A text shortened so that its distinguishing part stays: the start that all texts share is cut first.
 * @param {string} text
 * @param {Iterable<string>} [others] the texts beside it
 * @param {number} [limit] most characters
 * @returns {string}
 */
export function shorten(text, others = [], limit = 32) {
  if (text.length <= limit) return text;
  let shared = text.length;
  let some = false;
  for (const other of others) {
    if (other === text) continue;
    some = true;
    let at = 0;
    while (at < shared && at < other.length && text[at] === other[at]) at += 1;
    shared = at;
  }
  const half = Math.floor((limit - 1) / 2);
  if (!some || shared <= limit - 2) {
    // What differs is near the start: keep the start and some of the end.
    const head = Math.max(half, some ? Math.min(shared + 4, limit - 2) : half);
    const tail = limit - 1 - head;
    return `${text.slice(0, head)}…${tail > 0 ? text.slice(text.length - tail) : ""}`;
  }
  const head = Math.min(6, half);
  const room = limit - 1 - head;
  const from = Math.min(Math.max(shared - 2, head), text.length - room);
  const end = from + room;
  return end >= text.length ? `${text.slice(0, head)}…${text.slice(from)}` : `${text.slice(0, head)}…${text.slice(from, end - 1)}…`;
}

/**
 * A key as it is shown: one that would look like nothing is quoted, controls and marks of direction become visible.
 * @param {string} key
 * @returns {string}
 */
export function keyText(key) {
  const visible = key.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, "\ufffd");
  return visible.trim() === "" ? JSON.stringify(visible) : visible;
}
