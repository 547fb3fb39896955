/**
 * One row of the list at the cursor. Pure.
 */
import { valueText } from "./words.js";

/**
 * @param {import("./nearest.js").Reading} reading
 * @param {boolean} nearest
 * @param {import("./picture.js").Options} options
 * @returns {import("./values.js").Row}
 */
export function rowOf(reading, nearest, options) {
  const { line, trace, smoothed } = reading.shape;
  const k = reading.index;
  const mean = trace.mean[k];
  const details = [];
  let value = valueText(mean, true);
  if (trace.codes && trace.codes[k]) value = ["", "NaN", "+Inf", "−Inf"][trace.codes[k]];
  else if (!(trace.n[k] > 0)) value = `${trace.bad[k].toLocaleString("en-US")} × NaN or ±Inf`;
  else if (smoothed) {
    value = valueText(smoothed[k], true);
    details.push(trace.raw ? `raw ${valueText(mean, true)}` : `mean ${valueText(mean, true)}`);
  }
  const band = line.band ?? (trace.raw ? null : trace);
  if (band && trace.n[k] > 0 && band.low[k] !== band.high[k]) details.push(`${valueText(band.low[k], true)} to ${valueText(band.high[k], true)}`);
  if (line.runs && line.members) details.push(`${line.runs[k]} of ${line.members} runs`);
  if (!trace.codes && trace.bad[k] > 0 && trace.n[k] > 0) details.push(`${trace.bad[k].toLocaleString("en-US")} not finite`);
  if (options.logY && mean <= 0) details.push("not on the log axis");
  return { color: line.color, dashed: Boolean(line.dash?.length), label: line.label, value, detail: details.join(" · "), nearest };
}
