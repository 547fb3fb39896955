/**
 * A name in too little room keeps its end, because that is where names differ: the middle is cut, wherever it is, by the style sheet.
 */
import { h } from "./dom.js";

/** Length of the end that is always shown. */
const TAIL = 12;

/**
 * @param {string} text
 * @returns {HTMLElement} an element to be put where it may shrink
 */
export function keepEnd(text) {
  return fillKeepEnd(h("span", { class: "ends" }), text);
}

/**
 * Show another text in an element made by `keepEnd`.
 * @param {HTMLElement} node
 * @param {string} text
 * @returns {HTMLElement}
 */
export function fillKeepEnd(node, text) {
  const cut = splitAt(text);
  if (!node.firstChild) node.append(h("bdi"), h("bdi"));
  const [head, tail] = /** @type {Iterable<HTMLElement>} */ (node.children);
  head.textContent = text.slice(0, cut);
  tail.textContent = text.slice(cut);
  return node;
}

/**
 * Where the end begins: not within a character that takes two units, nor before a mark that belongs to the one before it.
 * @param {string} text
 * @returns {number} 0 for a text that is all end
 */
export function splitAt(text) {
  let at = text.length - TAIL;
  if (at <= TAIL / 2) return 0;
  while (at > 0 && /[\uDC00-\uDFFF\p{M}\u200D\uFE0F]/u.test(text.charAt(at))) at -= 1;
  return at;
}
