/** The table of runs. */

/**
 * @param {HTMLElement} node
 * @returns {() => void} ends it
 */
export function mountTable(node) {
  node.replaceChildren();
  return () => node.replaceChildren();
}
