/** Downloads of a panel: picture, vectors, values as shown, every point. */
import { api } from "../core/api.js";
import { h } from "../core/dom.js";
import { openMenu } from "../core/menu.js";
import { runAt } from "../core/runs.js";
import { toast } from "../core/toast.js";

/** @typedef {{toPNG: () => Promise<Blob>, toSVG: () => string, toCSV: () => string}} Picture a chart, or something else that can be saved */

/**
 * @param {Element} anchor
 * @param {{key: string, chart: Picture, runs: string[]}} panel `runs`: those whose every point is offered
 */
export function openDownloads(anchor, { key, chart, runs }) {
  const name = fileName(key);
  /** @type {import("../core/menu.js").Entry[]} */
  const entries = [
    { heading: "As shown" },
    { label: "PNG", run: () => void picture(chart, name) },
    { label: "SVG", run: () => save(new Blob([chart.toSVG()], { type: "image/svg+xml" }), `${name}.svg`) },
    { label: "CSV", run: () => save(new Blob([chart.toCSV()], { type: "text/csv" }), `${name}.csv`) },
  ];
  if (!api.saved && runs.length) {
    entries.push("-", { heading: runs.length === 1 ? "Every point" : "Every point of one run" });
    const names = runs.map((ref) => runAt(ref)?.name ?? ref);
    for (const [at, ref] of runs.slice(0, MOST_RUNS).entries()) {
      const isShared = names.indexOf(names[at] ?? "") !== names.lastIndexOf(names[at] ?? "");
      entries.push({ label: `${names[at]}${isShared ? ` (${runAt(ref)?.id ?? ref})` : ""}.csv`, run: () => follow(api.url(`runs/${encodeURIComponent(ref)}/export.csv`, { keys: key })) });
    }
    if (runs.length > MOST_RUNS) entries.push({ heading: `${runs.length - MOST_RUNS} more: open the run and export it there` });
  }
  openMenu(anchor, entries, { label: `Download ${key}` });
}

/** Maximum number of runs in the menu. */
const MOST_RUNS = 12;

/**
 * @param {Picture} chart
 * @param {string} name
 */
async function picture(chart, name) {
  try {
    save(await chart.toPNG(), `${name}.png`);
  } catch (error) {
    toast(`The picture could not be made: ${error instanceof Error ? error.message : error}`);
  }
}

/**
 * @param {Blob} blob
 * @param {string} name
 */
function save(blob, name) {
  const url = URL.createObjectURL(blob);
  follow(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/**
 * @param {string} href
 * @param {string} [name]
 */
function follow(href, name = "") {
  const link = h("a", { href, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

/**
 * A file name without characters that a file system refuses.
 * @param {string} key
 * @returns {string}
 */
export function fileName(key) {
  return key.replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[-.]+|[-.]+$/g, "").slice(0, 100) || "chart";
}
