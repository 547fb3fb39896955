/**
 * Conditions of columns as text, as they stand in the address: `~text` contains, `0.1..5` range (an end may be left out),
 * `=a|b` one of. Pure.
 */

/**
 * @typedef {{kind: "contains", text: string} | {kind: "range", low: number | null, high: number | null} | {kind: "set", values: string[]}} Condition
 *   In a set, "" stands for a missing value.
 */

/**
 * @param {string} text
 * @returns {Condition | null} null for what is not a condition
 */
export function parseCondition(text) {
  if (text.startsWith("~")) return text.length > 1 ? { kind: "contains", text: text.slice(1) } : null;
  if (text.startsWith("=")) return { kind: "set", values: splitBars(text.slice(1)) };
  const at = text.indexOf("..");
  if (at < 0) return null;
  const low = bound(text.slice(0, at));
  const high = bound(text.slice(at + 2));
  return low === null && high === null ? null : { kind: "range", low, high };
}

/**
 * @param {Condition} condition
 * @returns {string}
 */
export function formatCondition(condition) {
  if (condition.kind === "contains") return `~${condition.text}`;
  if (condition.kind === "range") return `${condition.low ?? ""}..${condition.high ?? ""}`;
  return `=${condition.values.map((value) => value.replace(/[\\|]/g, (c) => `\\${c}`)).join("|")}`;
}

/**
 * @param {Condition} condition
 * @param {any} value
 * @returns {boolean} whether a value passes
 */
export function passes(condition, value) {
  if (condition.kind === "range") {
    return typeof value === "number" && (condition.low === null || value >= condition.low) && (condition.high === null || value <= condition.high);
  }
  if (condition.kind === "contains") {
    const wanted = condition.text.toLowerCase();
    return Array.isArray(value) ? value.some((one) => String(one).toLowerCase().includes(wanted)) : value !== null && asText(value).toLowerCase().includes(wanted);
  }
  if (Array.isArray(value)) return value.length ? value.some((one) => condition.values.includes(String(one))) : condition.values.includes("");
  return condition.values.includes(value === null || value === undefined ? "" : asText(value));
}

/**
 * A value as the text that a set holds.
 * @param {any} value
 * @returns {string}
 */
export function asText(value) {
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}

/**
 * The condition in words, for a chip or a title.
 * @param {Condition} condition
 * @returns {string}
 */
export function describe(condition) {
  if (condition.kind === "contains") return `contains “${condition.text}”`;
  if (condition.kind === "set") return `is ${condition.values.map((value) => (value === "" ? "missing" : value)).join(" or ")}`;
  if (condition.low === null) return `≤ ${condition.high}`;
  return condition.high === null ? `≥ ${condition.low}` : `${condition.low} to ${condition.high}`;
}

/** @param {string} text */
function bound(text) {
  return text.trim() === "" || !Number.isFinite(Number(text)) ? null : Number(text);
}

/** @param {string} text */
function splitBars(text) {
  /** @type {string[]} */
  const parts = [""];
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === "\\" && at + 1 < text.length) {
      at += 1;
      parts[parts.length - 1] += text[at];
    } else if (text[at] === "|") parts.push("");
    else parts[parts.length - 1] += text[at];
  }
  return parts;
}
