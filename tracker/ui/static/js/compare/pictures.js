/** Pictures of the compare page as files: what is seen, as PNG or SVG, and its values as CSV. */
import { pictureFile, pngOf } from "../chart/svgfile.js";
import { openDownloads } from "../panels/downloads.js";
import { csv } from "./copy.js";

/** Parts of a picture that only the pointer needs. */
const HIDDEN = ".reach, .brush-grip";

/**
 * @param {Element} anchor
 * @param {SVGElement | null} picture
 * @param {HTMLTableElement | null} table its values, for screen readers
 */
export function openPictureMenu(anchor, picture, table) {
  if (!picture || !table) return;
  const title = table.caption?.textContent ?? "";
  const svg = () => pictureFile(picture, title, HIDDEN);
  const rows = [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent ?? ""));
  openDownloads(anchor, { key: title, runs: [], chart: { toSVG: svg, toPNG: () => pngOf(svg()), toCSV: () => csv({ head: rows[0] ?? [], rows: rows.slice(1) }) } });
}
