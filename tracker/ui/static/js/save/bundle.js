/**
 * One HTML file of the page's files: styles in a style element, modules as data addresses behind an import map, and the
 * data of a view. Pure functions; nothing is fetched here. Import maps:
 * https://html.spec.whatwg.org/multipage/webappapis.html#import-maps
 */

/** Names of modules in the saved file; relative names have no meaning in a data address. */
const PREFIX = "tracker:";
const MAIN = "js/main.js";

/** A static import of another module; the modules have no other kind. */
const IMPORT = /^((?:import|export)\b[^"'`;]*?\bfrom\s*|import\s*)"(\.{1,2}\/[^"]+)"/gm;

/**
 * The path that `specifier` means in the module at `path`.
 * @param {string} path such as "js/core/api.js"
 * @param {string} specifier such as "../chart/scale.js"
 * @returns {string}
 */
export function resolve(path, specifier) {
  const parts = path.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

/**
 * A module with its imports by their names in the import map.
 * @param {string} path
 * @param {string} text
 * @returns {string}
 */
export function rename(path, text) {
  return text.replace(IMPORT, (_, before, specifier) => `${before}"${PREFIX}${resolve(path, specifier)}"`);
}

/**
 * Text as base64 of its UTF-8.
 * @param {string} text
 * @returns {string}
 */
export function base64(text) {
  const bytes = new TextEncoder().encode(text);
  let binary = "";
  for (let at = 0; at < bytes.length; at += 0x8000) binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(binary);
}

/**
 * JSON that may stand in a script element, whatever strings are in it.
 * @param {any} value
 * @returns {string}
 */
export function json(value) {
  return JSON.stringify(value).replaceAll("<", "\\u003c").replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");
}

/** @param {string} text */
const escape = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

/**
 * The whole file.
 * @param {Record<string, string>} files name to text, as `GET bundle` has them
 * @param {any} data what `#saved` holds; see core/saved.js
 * @param {string} title
 * @param {((text: string) => Promise<string>) | null} hash base64 of the SHA-256 of a text, for the content security policy;
 *   null leaves the policy out, where the browser computes no hashes
 * @returns {Promise<string>}
 */
export async function makePage(files, data, title, hash) {
  const names = Object.keys(files).sort();
  const sheets = [...(files["index.html"] ?? "").matchAll(/href="(?:static\/)?(css\/[^"]+)"/g)].map((match) => /** @type {string} */ (match[1]));
  const style = sheets.map((name) => files[name] ?? "").join("\n").replaceAll("</style", "<\\/style");
  /** @type {Record<string, string>} */
  const imports = {};
  for (const name of names) {
    if (name.startsWith("js/")) imports[PREFIX + name] = `data:text/javascript;base64,${base64(rename(name, files[name] ?? ""))}`;
  }
  const map = json({ imports });
  const start = `import "${PREFIX}${MAIN}";`;
  const policy = hash === null ? "" : [
    "default-src 'none'", `script-src 'sha256-${await hash(map)}' 'sha256-${await hash(start)}' data:`,
    `style-src 'sha256-${await hash(style)}'`, "img-src data: blob:", "base-uri 'none'", "form-action 'none'",
  ].join("; ");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
${policy ? `<meta http-equiv="Content-Security-Policy" content="${policy}">\n` : ""}<title>${escape(title)}</title>
<style>${style}</style>
<script type="importmap">${map}</script>
<script type="application/json" id="saved">${json(data)}</script>
</head>
<body>
<noscript>This file needs JavaScript; it asks no server for anything.</noscript>
<script type="module">${start}</script>
</body>
</html>
`;
}
