/**
 * Ticks of an axis: round positions, and short labels. Pure.
 *
 * @typedef {"number" | "step" | "relative" | "time"} AxisKind
 *
 * @typedef {object} Ticks
 * @property {number[]} values
 * @property {string[]} labels
 * @property {string} note What all labels leave out, such as a common offset or the day; empty if nothing.
 */

/** Seconds, largest step first that people read on a clock or a calendar. */
const CLOCK_STEPS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800,
];
const DAY = 86400;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/**
 * @param {AxisKind} kind
 * @param {boolean} log
 * @param {number} low
 * @param {number} high
 * @param {number} most Maximum number of ticks.
 * @returns {Ticks}
 */
export function ticksFor(kind, log, low, high, most) {
  if (!(high > low) || most < 1) return { values: [low], labels: [label(low, 0)], note: "" };
  if (log) return logTicks(low, high, most, kind);
  if (kind === "time") return timeTicks(low, high, most);
  if (kind === "relative") return durationTicks(low, high, most);
  return numberTicks(low, high, most, kind === "step");
}

/**
 * @param {number} low
 * @param {number} high
 * @param {number} most
 * @param {boolean} whole
 * @returns {Ticks}
 */
export function numberTicks(low, high, most, whole = false) {
  const step = Math.max(roundStep(low, high, most), whole && high - low >= 1 ? 1 : 0);
  const values = multiples(low, high, step);
  const largest = Math.max(Math.abs(low), Math.abs(high));
  // Where all labels would share more than five leading digits, the common part is said once.
  if (values.length > 1 && largest / step >= 1e6) {
    const base = commonPart(low, high, step);
    const shown = values.map((value) => signed(value - base, step));
    return { values, labels: shown, note: `${grouped(base)} +` };
  }
  return { values, labels: values.map((value) => label(value, step)), note: "" };
}

/**
 * The roundest number near all ticks.
 * @param {number} low
 * @param {number} high
 * @param {number} step
 */
function commonPart(low, high, step) {
  const middle = low / 2 + high / 2;
  for (let power = Math.ceil(Math.log10(Math.max(Math.abs(low), Math.abs(high)))); power > Math.log10(step); power--) {
    const base = Math.round(middle / 10 ** power) * 10 ** power;
    if (Math.max(Math.abs(low - base), Math.abs(high - base)) < 1000 * step) return base;
  }
  return Math.floor(low / step) * step;
}

/**
 * The smallest of 1, 2, 5 × 10^k that gives at most `most` ticks.
 * @param {number} low
 * @param {number} high
 * @param {number} most
 * @returns {number}
 */
export function roundStep(low, high, most) {
  const rough = Math.max(high / most - low / most, Number.MIN_VALUE);
  let power = Math.floor(Math.log10(rough));
  for (;;) {
    for (const factor of [1, 2, 5]) {
      const step = Number(`${factor}e${power}`);
      if (step > 0 && multiples(low, high, step).length <= most) return step;
    }
    power += 1;
    if (power > 308) return Number.MAX_VALUE;
  }
}

/**
 * @param {number} low
 * @param {number} high
 * @param {number} step
 * @returns {number[]}
 */
function multiples(low, high, step) {
  const values = [];
  // As much as the value's own rounding, besides that of the division.
  const slack = Math.min(step, high / 2 - low / 2) * 1e-9 + Math.max(Math.abs(low), Math.abs(high)) * 4.5e-16;
  const first = Math.ceil(low / step - slack / step);
  for (let k = 0; k < 100; k++) {
    const value = (first + k) * step;
    if (!Number.isFinite(value) || !(value - slack <= high)) break;
    values.push(value === 0 ? 0 : value);
  }
  return values;
}

/**
 * @param {number} low
 * @param {number} high
 * @param {number} most
 * @param {AxisKind} kind
 * @returns {Ticks}
 */
export function logTicks(low, high, most, kind = "number") {
  const name = (/** @type {number} */ value) => (kind === "relative" ? duration(value, value) : label(value, value));
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  const decades = last - first + 1;
  let values = [];
  if (decades >= 2) {
    const each = Math.max(1, Math.ceil(decades / most));
    for (let power = Math.ceil(first / each) * each; power <= last; power += each) values.push(Number(`1e${power}`));
    if (values.length * 3 <= most) values = values.flatMap((v) => [v / 5, v / 2, v]).concat(values.flatMap((v) => [v * 2, v * 5]));
    else if (values.length * 2 <= most) values = values.flatMap((v) => [v, v * 3]);
    values = [...new Set(values.map((v) => Number(v.toPrecision(12))))].filter((v) => v >= low && v <= high).sort((a, b) => a - b);
    if (values.length > most) values = values.filter((v) => Number.isInteger(Number(Math.log10(v).toFixed(9))));
  } else {
    for (let power = Math.floor(Math.log10(low)); power <= last; power++) {
      for (const factor of [1, 2, 3, 5, 7]) values.push(Number(`${factor}e${power}`));
    }
    values = values.filter((v) => v >= low && v <= high);
    if (values.length > most) values = values.filter((_, i) => i % Math.ceil(values.length / most) === 0);
    if (values.length < 2) return numberTicks(low, high, most, false);
  }
  return { values, labels: values.map(name), note: "" };
}

/**
 * @param {number} low Seconds.
 * @param {number} high
 * @param {number} most
 * @returns {Ticks}
 */
export function durationTicks(low, high, most) {
  const step = clockStep(high - low, most, low, high);
  const values = multiples(low, high, step);
  return { values, labels: values.map((value) => duration(value, step)), note: "" };
}

/**
 * @param {number} span
 * @param {number} most
 * @param {number} low
 * @param {number} high
 * @returns {number}
 */
function clockStep(span, most, low, high) {
  if (span / most < 0.5) return roundStep(low, high, most);
  for (const step of CLOCK_STEPS) {
    if (Math.floor(high / step) - Math.ceil(low / step) + 1 <= most) return step;
  }
  return roundStep(low / DAY, high / DAY, most) * DAY;
}

/**
 * @param {number} low Unix seconds.
 * @param {number} high
 * @param {number} most
 * @returns {Ticks}
 */
export function timeTicks(low, high, most) {
  const zone = -new Date(low * 1000).getTimezoneOffset() * 60;
  const span = high - low;
  if (span > 80 * DAY) return calendarTicks(low, high, most);
  const step = clockStep(span, most, low + zone, high + zone);
  const values = multiples(low + zone, high + zone, step).map((value) => value - zone);
  let shownDay = "";
  const labels = values.map((value) => {
    const date = new Date(value * 1000);
    const day = dayName(date);
    if (step >= DAY) return day;
    const midnight = date.getHours() + date.getMinutes() + date.getSeconds() === 0;
    if (midnight && shownDay && shownDay !== day) {
      shownDay = day;
      return day;
    }
    shownDay = day;
    return clock(date, step);
  });
  return { values, labels, note: step >= DAY ? "" : dayName(new Date(low * 1000)) };
}

/**
 * @param {number} low
 * @param {number} high
 * @param {number} most
 * @returns {Ticks}
 */
function calendarTicks(low, high, most) {
  const start = new Date(low * 1000);
  const end = new Date(high * 1000);
  const months = (end.getFullYear() - start.getFullYear()) * 12 + end.getMonth() - start.getMonth() + 1;
  const each = [1, 2, 3, 6, 12, 24, 60, 120, 600, 1200].find((size) => months / size <= most) ?? 12000;
  const values = [];
  const labels = [];
  const first = Math.ceil((start.getFullYear() * 12 + start.getMonth()) / each) * each;
  for (let month = first; month < first + each * (most + 1); month += each) {
    const date = new Date(Math.floor(month / 12), month % 12, 1);
    const value = date.getTime() / 1000;
    if (value < low) continue;
    if (value > high) break;
    values.push(value);
    labels.push(date.getMonth() === 0 || each >= 12 ? String(date.getFullYear()) : MONTHS[date.getMonth()]);
  }
  return { values, labels, note: labels.some((text) => /\d/.test(text)) ? "" : String(start.getFullYear()) };
}

/** @param {Date} date */
function dayName(date) {
  return `${date.getDate()} ${MONTHS[date.getMonth()]}`;
}

/**
 * @param {Date} date
 * @param {number} step Seconds between ticks.
 */
function clock(date, step) {
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const minutes = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (step >= 60) return minutes;
  if (step >= 1) return `${minutes}:${two(date.getSeconds())}`;
  return `${minutes}:${(date.getSeconds() + date.getMilliseconds() / 1000).toFixed(decimals(step)).padStart(3 + decimals(step), "0")}`;
}

/**
 * A duration: 45s, 2h 10m, 3d.
 * @param {number} seconds
 * @param {number} step Precision, in seconds.
 * @returns {string}
 */
export function duration(seconds, step) {
  if (seconds < 0) return `−${duration(-seconds, step)}`;
  if (seconds === 0) return "0";
  if (seconds < 60) return `${trim(seconds, step < 1 ? step : 1)}s`;
  const whole = step < 1 ? seconds : Math.round(seconds);
  const parts = [];
  const days = Math.floor(whole / DAY);
  const hours = Math.floor((whole % DAY) / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const rest = whole % 60;
  if (days) parts.push(`${days}d`);
  if (hours) parts.push(`${hours}h`);
  if (minutes) parts.push(`${minutes}m`);
  if (rest >= step * 0.5 && rest > 1e-9) parts.push(`${trim(rest, step < 1 ? step : 1)}s`);
  return (step < 1 ? parts : parts.slice(0, 2)).join(" ");
}

const UNITS = [
  [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"],
];

/**
 * A short label for a tick.
 * @param {number} value
 * @param {number} step Distance between ticks, which decides the digits; 0 if unknown.
 * @returns {string}
 */
export function label(value, step) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e15 || size < 1e-4) return exponent(value, step);
  const precision = step > 0 ? step : size / 1000;
  for (const [unit, letter] of /** @type {[number, string][]} */ (UNITS)) {
    // 1,250 rather than 1.250k where the letter would save nothing.
    if (size >= unit && (unit > 1e3 || size >= 1e4 || precision >= 100)) return minus(trim(value / unit, precision / unit)) + letter;
  }
  return minus(trim(value, precision));
}

/**
 * @param {number} value
 * @param {number} step
 */
function exponent(value, step) {
  const power = Math.floor(Math.log10(Math.abs(value)) + 1e-12);
  const factor = value / 10 ** power;
  const digits = step > 0 ? Math.min(3, Math.max(0, power - Math.floor(Math.log10(step) + 1e-9))) : 3;
  const text = Number.isFinite(factor) ? trimZeros(factor.toFixed(digits)) : value.toExponential(digits).split("e")[0];
  return `${text}e${power}`.replaceAll("-", "−");
}

/**
 * @param {number} value
 * @param {number} precision
 */
function trim(value, precision) {
  return trimZeros(value.toFixed(decimals(precision)));
}

/** @param {string} text */
function trimZeros(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** @param {number} step */
function decimals(step) {
  return Math.min(12, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
}

/**
 * @param {number} value
 * @param {number} step
 */
function signed(value, step) {
  return value === 0 ? "0" : value > 0 ? `+${label(value, step)}` : label(value, step);
}

/** @param {number} value */
function grouped(value) {
  return Math.abs(value) >= 1e15 ? value.toExponential() : minus(value.toLocaleString("en-US", { maximumFractionDigits: 6 }));
}

/** @param {string} text */
function minus(text) {
  return text.replace(/^-/, "−");
}
