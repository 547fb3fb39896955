/**
 * Tables as text to be copied: Markdown, LaTeX, CSV. Pure functions; each escapes what has a meaning in its language.
 */

/**
 * @typedef {object} Table
 * @property {string[]} head the first is the name of the column of keys
 * @property {string[][]} rows each as long as `head`
 * @property {boolean[][]} [strong] cells that are set in bold, by row and column
 * @property {string} [caption]
 */

/** Controls, and marks that change the direction of what follows, become visible or vanish. */
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/**
 * A table in GitHub's Markdown.
 * @param {Table} table
 * @returns {string}
 */
export function markdown(table) {
  const line = (/** @type {string[]} */ cells) => `| ${cells.join(" | ")} |`;
  const head = table.head.map(escapeMarkdown);
  const rows = table.rows.map((row, at) => line(row.map((cell, column) => {
    const text = escapeMarkdown(cell);
    return table.strong?.[at]?.[column] && text ? `**${text}**` : text;
  })));
  const rule = `| ${head.map((_, column) => (column ? "---:" : "---")).join(" | ")} |`;
  return `${[line(head), rule, ...rows].join("\n")}\n`;
}

/**
 * Text that Markdown shows as it is, in a cell of a table.
 * @param {string} text
 * @returns {string}
 */
export function escapeMarkdown(text) {
  return text
    .replace(CONTROLS, "")
    .replace(/\\/g, "\\\\")
    .replace(/([|*_`~[\]<>#$])/g, "\\$1")
    .replace(/&/g, "&amp;")
    .replace(/\r\n|[\r\n]/g, " ")
    .replace(/\t/g, " ")
    .trim();
}

/**
 * A table for LaTeX, with the rules of booktabs.
 * @param {Table} table
 * @returns {string}
 */
export function latex(table) {
  const line = (/** @type {string[]} */ cells) => `    ${cells.join(" & ")} \\\\`;
  const rows = table.rows.map((row, at) => line(row.map((cell, column) => {
    const text = escapeLatex(cell);
    return table.strong?.[at]?.[column] && text ? `\\textbf{${text}}` : text;
  })));
  return [
    "% needs \\usepackage{booktabs}",
    "\\begin{table}",
    "  \\centering",
    `  \\begin{tabular}{l${"r".repeat(Math.max(0, table.head.length - 1))}}`,
    "    \\toprule",
    line(table.head.map(escapeLatex)),
    "    \\midrule",
    ...rows,
    "    \\bottomrule",
    "  \\end{tabular}",
    ...(table.caption ? [`  \\caption{${escapeLatex(table.caption)}}`] : []),
    "\\end{table}",
    "",
  ].join("\n");
}

/** @type {Record<string, string>} */
const LATEX = {
  "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "~": "\\textasciitilde{}",
  "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", '"': "\\textquotedbl{}", "\u2212": "$-$", "∞": "$\\infty$",
  "×": "$\\times$", "…": "\\dots{}", "Δ": "$\\Delta$", "\u2013": "--", "µ": "$\\mu$",
};

/**
 * Text that LaTeX shows as it is.
 * @param {string} text
 * @returns {string}
 */
export function escapeLatex(text) {
  const plain = text.replace(CONTROLS, "").replace(/\r\n|[\r\n\t]/g, " ").trim();
  return plain.replace(/[\\{}&%$#_~^<>|"\u2212∞×…Δ\u2013µ]/g, (sign) => LATEX[sign] ?? sign);
}

/**
 * A table as CSV (RFC 4180). A cell that a spreadsheet would take for a formula gets an apostrophe before it.
 * @param {Table} table
 * @returns {string}
 */
export function csv(table) {
  return [table.head, ...table.rows].map((row) => row.map(csvCell).join(",")).join("\r\n") + "\r\n";
}

/** @param {string} text */
function csvCell(text) {
  const isNumber = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text);
  const safe = !isNumber && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]|^\s|\s$/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
