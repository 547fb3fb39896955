/**
 * What a chart shows as comma-separated values (RFC 4180): true points or buckets, and the smoothed curve beside them. Pure.
 */
import { smoothedOf } from "./picture.js";
import { traceOf } from "./series.js";

/**
 * A field: quoted where needed. Text that a spreadsheet would take for a formula gets an apostrophe.
 * @param {string} text
 * @returns {string}
 */
export function csvField(text) {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** @param {number} value */
function number(value) {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "Infinity" : "-Infinity";
  return String(value);
}

/**
 * @param {import("./series.js").Line[]} lines
 * @param {import("./picture.js").Options} options
 * @returns {string}
 */
export function pictureCsv(lines, options) {
  const smoothed = lines.map((line) => smoothedOf(line, options));
  const smoothName = options.smooth > 0 ? `smoothed (${options.smoothKind} ${options.smooth})` : "smoothed";
  const header = ["run", "key", "kind", `${options.xLabel} first`, `${options.xLabel} last`, "mean", "min", "max", "count", "not finite"];
  const withSmooth = smoothed.some(Boolean);
  if (withSmooth) header.push(smoothName);
  const withBand = lines.some((line) => line.band);
  if (withBand) header.push("band low", "band high", "runs");
  const rows = [header.map(csvField).join(",")];
  lines.forEach((line, index) => {
    const trace = traceOf(line.series);
    const [low, high] = options.xRange ?? [-Infinity, Infinity];
    for (let i = 0; i < trace.count; i++) {
      if (trace.x1[i] < low || trace.x0[i] > high) continue;
      const value = trace.codes?.[i] ? [NaN, NaN, Infinity, -Infinity][trace.codes[i]] : trace.mean[i];
      const finite = trace.n[i] > 0;
      const row = [
        csvField(line.label), csvField(line.series.key), trace.raw ? "point" : line.runs ? "group" : "bucket",
        number(trace.x0[i]), number(trace.x1[i]), finite || trace.raw ? number(value) : "",
        finite ? number(trace.low[i]) : "", finite ? number(trace.high[i]) : "", number(trace.n[i]), number(trace.bad[i]),
      ];
      const smooth = smoothed[index];
      if (withSmooth) row.push(smooth && Number.isFinite(smooth[i]) ? number(smooth[i]) : "");
      if (withBand) row.push(line.band ? number(line.band.low[i]) : "", line.band ? number(line.band.high[i]) : "", line.runs ? number(line.runs[i]) : "");
      rows.push(row.join(","));
    }
  });
  return `${rows.join("\r\n")}\r\n`;
}
