/**
 * The charts of one run: the grid of panels of the charts page, for this run alone.
 */
import { mountCharts } from "../panels/page.js";

/**
 * @param {HTMLElement} node
 * @param {{ref: string}} context
 * @returns {() => void} ends it
 */
export function mountRunCharts(node, { ref }) {
  return /** @type {any} */ (mountCharts)(node, { runs: [ref] });
}
