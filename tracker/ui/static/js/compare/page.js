/** What differs between the selected runs. */

/**
 * @param {HTMLElement} node
 * @returns {() => void} ends it
 */
export function mountCompare(node) {
  node.replaceChildren();
  return () => node.replaceChildren();
}
