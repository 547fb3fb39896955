/**
 * Settings of the compare page in the address.
 */
import { change, view } from "../core/state.js";

/** Options whose change is not worth undoing: the part that is shown, what is typed. */
const PASSING = new Set(["part", "find"]);

/**
 * Set an option of the page in the address; "" removes it.
 * @param {string} name
 * @param {string} value
 */
export function setOption(name, value) {
  const { [name]: _, ...rest } = view.peek().options;
  change({ options: value ? { ...rest, [name]: value } : rest }, { undo: !PASSING.has(name) });
}

/**
 * @param {string} name
 * @returns {string} "" if it is not set
 */
export function option(name) {
  return view.peek().options[name] ?? "";
}
