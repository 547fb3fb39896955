/** Charts of the selected runs. */

/**
 * @param {HTMLElement} node
 * @returns {() => void} ends it
 */
export function mountCharts(node) {
  node.replaceChildren();
  return () => node.replaceChildren();
}
