/** The page of one run. */

/**
 * @param {HTMLElement} node
 * @param {string} ref
 * @param {string} tab
 * @returns {() => void} ends it
 */
export function mountRun(node, ref, tab) {
  node.textContent = `${ref} ${tab}`;
  return () => node.replaceChildren();
}
