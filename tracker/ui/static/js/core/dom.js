/**
 * Making elements. Text only ever becomes a text node; styles are set through the CSSOM, as the content security policy requires.
 */

/**
 * @typedef {Node | string | number | null | undefined | false} Child
 * @typedef {Record<string, any> & {
 *   class?: string, on?: Record<string, (event: any) => void>, data?: Record<string, string>, style?: Record<string, string>
 * }} Props Attributes by name (`false`, null and undefined leave one out), and the four named ones. `value`, `checked`,
 *   `disabled`, `selected`, `indeterminate` are set as properties.
 */

const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "indeterminate"]);
const SVG = "http://www.w3.org/2000/svg";

/**
 * A new element: `h("button", {class: "plain", on: {click: act}}, "Undo")`.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Props | null} [props]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  if (props) assign(element, props);
  append(element, children);
  return element;
}

/**
 * A new SVG element.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Props | null} [props]
 * @param {...(Child | Child[])} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, props, ...children) {
  const element = document.createElementNS(SVG, tag);
  if (props) assign(element, props);
  append(element, children);
  return /** @type {SVGElementTagNameMap[K]} */ (element);
}

/**
 * Replace everything in `parent`.
 * @param {Element | DocumentFragment} parent
 * @param {...(Child | Child[])} children
 */
export function replace(parent, ...children) {
  parent.replaceChildren();
  append(parent, children);
}

/** @param {Element | DocumentFragment} parent */
export function clear(parent) {
  parent.replaceChildren();
}

/**
 * @param {HTMLElement | SVGElement} element
 * @param {Props} props
 */
function assign(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (name === "on") {
      for (const [type, listener] of Object.entries(value)) element.addEventListener(type, /** @type {any} */ (listener));
    } else if (name === "style") {
      for (const [property, setting] of Object.entries(value)) element.style.setProperty(property, String(setting));
    } else if (name === "data") {
      for (const [key, text] of Object.entries(value)) element.dataset[key] = String(text);
    } else if (PROPERTIES.has(name) && name in element) {
      /** @type {any} */ (element)[name] = value;
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : String(value));
    } else if (value === false && name.startsWith("aria-")) {
      element.setAttribute(name, "false");
    }
  }
}

/**
 * @param {Element | DocumentFragment} parent
 * @param {(Child | Child[])[]} children
 */
function append(parent, children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(typeof child === "object" ? child : String(child));
  }
}
