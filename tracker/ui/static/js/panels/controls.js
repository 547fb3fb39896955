/**
 * Small controls of the charts toolbar: a labelled select, a toggle, a button, the smoothing slider. They know nothing of what they control.
 */
import { h } from "../core/dom.js";

/**
 * @typedef {object} Control
 * @property {HTMLElement} element
 * @property {() => void} update show the present state
 */

/**
 * @typedef {{value: string, label: string, group?: string}} Option
 */

/**
 * A select with its label in front.
 * @param {{label: string, title: string, options: () => Option[], value: () => string, set: (value: string) => void}} props
 * @returns {Control}
 */
export function choice({ label, title, options, value, set }) {
  const select = h("select", { class: "control-select", title, "aria-label": label, on: { change: () => set(select.value) } });
  let shown = "";
  return {
    element: h("label", { class: "control" }, h("span", { class: "control-label" }, label), select),
    update() {
      const list = options();
      const text = JSON.stringify(list);
      if (text !== shown) {
        shown = text;
        select.replaceChildren(...optionNodes(list));
      }
      const present = value();
      if (!list.some((option) => option.value === present)) select.append(h("option", { value: present }, present));
      select.value = present;
      select.classList.toggle("changed", present !== list[0]?.value);
    },
  };
}

/**
 * @param {Option[]} list
 * @returns {HTMLElement[]}
 */
function optionNodes(list) {
  /** @type {HTMLElement[]} */
  const nodes = [];
  /** @type {Map<string, HTMLElement>} */
  const groups = new Map();
  for (const { value, label, group } of list) {
    const option = h("option", { value }, label);
    if (!group) {
      nodes.push(option);
      continue;
    }
    let parent = groups.get(group);
    if (!parent) {
      parent = h("optgroup", { label: group });
      groups.set(group, parent);
      nodes.push(parent);
    }
    parent.append(option);
  }
  return nodes;
}

/**
 * A button that is on or off.
 * @param {{label: string, title: string, value: () => boolean, toggle: () => void}} props
 * @returns {Control}
 */
export function toggle({ label, title, value, toggle: flip }) {
  const element = h("button", { class: "control-toggle", type: "button", title, "aria-pressed": "false", on: { click: flip } }, label);
  return { element, update: () => element.setAttribute("aria-pressed", String(value())) };
}

/**
 * A button; `enabled` says when it can be pressed.
 * @param {{label: string, title: string, enabled?: () => boolean, press: () => void}} props
 * @returns {Control}
 */
export function action({ label, title, enabled = () => true, press }) {
  const element = h("button", { class: "control-button", type: "button", title, on: { click: press } }, label);
  return { element, update: () => (element.disabled = !enabled()) };
}

/**
 * A row of buttons of which one is on.
 * @param {{label: string, title: string, options: Option[], value: () => string, set: (value: string) => void}} props
 * @returns {Control}
 */
export function segmented({ label, title, options, value, set }) {
  const buttons = options.map((option) => h("button", {
    class: "control-segment", type: "button", title: `${title}: ${option.label.toLowerCase()}`, "aria-pressed": "false", "aria-label": `${label}: ${option.label}`,
    on: { click: () => set(option.value) },
  }, option.value.toUpperCase()));
  return {
    element: h("div", { class: "control", role: "group", "aria-label": label }, h("span", { class: "control-label menu-only" }, label), h("div", { class: "control-segments" }, ...buttons)),
    update: () => buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(options[i].value === value()))),
  };
}

/**
 * Slider, number and unit of smoothing.
 * @param {{title: string, max: number, position: () => number, value: () => number, unit: () => string, describe: () => string,
 *   slide: (position: number) => void, set: (value: number) => void}} props
 * @returns {Control & {focus: () => void}}
 */
export function smoothing({ title, max, position, value, unit, describe, slide, set }) {
  const slider = h("input", { class: "control-slider", type: "range", min: "0", max: String(max), step: "1", title, "aria-label": "Smoothing",
    on: { input: () => slide(Number(slider.value)) } });
  const number = h("input", { class: "control-number", type: "number", min: "0", step: "any", title, "aria-label": "Smoothing, exact value",
    on: { change: () => set(Math.max(0, Number(number.value) || 0)) } });
  const unitText = h("span", { class: "control-unit" });
  return {
    element: h("div", { class: "control control-smooth" }, h("span", { class: "control-label" }, "Smooth"), slider, number, unitText),
    update() {
      if (document.activeElement !== slider || Number(slider.value) !== position()) slider.value = String(position());
      slider.setAttribute("aria-valuetext", describe());
      if (document.activeElement !== number) number.value = String(value());
      unitText.textContent = unit();
      unitText.title = describe();
    },
    focus: () => slider.focus(),
  };
}
