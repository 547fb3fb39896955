/**
 * Suggestions for the query line: fields, operators, values. Pure.
 */

/**
 * @typedef {object} Completion
 * @property {string} label
 * @property {string} detail
 * @property {string} text what is put in
 * @property {number} from
 * @property {number} to the part of the query that it replaces
 */

const LIMIT = 12;
const WORDS = ["and", "or", "not", "has", "in"];

/**
 * @param {string} query
 * @param {number} caret
 * @param {{name: string, kind: string, runs: number}[]} fields
 * @param {(name: string) => any[]} valuesOf values that occur in a field
 * @returns {Completion[]}
 */
export function completions(query, caret, fields, valuesOf) {
  const before = query.slice(0, caret);
  const value = /([\w.\-/]+)\s*(?:==|!=|has|in)\s*(?:"([^"]*)|([\w.\-]*))$/.exec(before);
  if (value) {
    const [, name = "", quoted, bare] = value;
    const typed = quoted ?? bare ?? "";
    const from = caret - typed.length - (quoted === undefined ? 0 : 1);
    return valuesOf(name).filter((one) => String(one).toLowerCase().includes(typed.toLowerCase()) && String(one) !== typed).slice(0, LIMIT)
      .map((one) => ({ label: String(one), detail: "value", text: typeof one === "number" || typeof one === "boolean" ? String(one) : JSON.stringify(String(one)), from, to: caret }));
  }
  const word = /(?:^|[\s(])([\w.\-/]+)$/.exec(before)?.[1] ?? "";
  if (word === "" || WORDS.includes(word) || insideQuotes(before)) return [];
  const wanted = word.toLowerCase();
  const found = fields.map((field) => ({ field, rank: rank(field.name.toLowerCase(), wanted) })).filter((one) => one.rank > 0)
    .sort((a, b) => b.rank - a.rank || b.field.runs - a.field.runs).slice(0, LIMIT);
  if (found.length === 1 && found[0]?.field.name === word) return [];
  return found.map(({ field }) => ({ label: field.name, detail: field.kind === "field" ? "" : `${field.runs} ${field.runs === 1 ? "run" : "runs"}`, text: field.name, from: caret - word.length, to: caret }));
}

/**
 * @param {string} name
 * @param {string} wanted
 */
function rank(name, wanted) {
  if (name.startsWith(wanted)) return 3;
  const at = name.indexOf(wanted);
  return at < 0 ? 0 : /[._/]/.test(name[at - 1] ?? "") ? 2 : 1;
}

/** @param {string} text */
function insideQuotes(text) {
  return (text.match(/"/g) ?? []).length % 2 === 1;
}
