/**
 * The list of values at the cursor: one floating element for the whole page, placed so that it never covers the line it is
 * about. Text only ever as text.
 *
 * @typedef {object} Row
 * @property {string} color
 * @property {boolean} dashed
 * @property {string} label
 * @property {string} value
 * @property {string} detail
 * @property {boolean} nearest
 *
 * @typedef {object} Box In CSS pixels of the window.
 * @property {number} left
 * @property {number} top
 * @property {number} width
 * @property {number} height
 */

import { shorten } from "../core/format.js";

/** Maximum length of a name in the list; of longer ones the part that differs is kept. */
const NAME_LENGTH = 32;
/** Distance between the cursor and the list. */
const GAP = 14;

/** @type {HTMLElement | null} */
let list = null;
/** @type {unknown} */
let owner = null;

/** @returns {HTMLElement} */
function element() {
  if (!list) {
    list = document.createElement("div");
    list.className = "chart-values";
    list.setAttribute("aria-hidden", "true");
    if ("popover" in list) list.setAttribute("popover", "manual");
    document.body.append(list);
  }
  return list;
}

/**
 * Shows rows beside a point.
 * @param {unknown} chart Whose list it is.
 * @param {string} head
 * @param {Row[]} rows
 * @param {string} foot
 * @param {[number, number]} point Of the window.
 * @param {(box: Box) => number} covered How much of what must stay visible a place would cover.
 */
export function showValues(chart, head, rows, foot, point, covered) {
  const box = element();
  owner = chart;
  fill(box, head, rows, foot);
  if (!box.classList.contains("shown")) {
    box.classList.add("shown");
    if ("showPopover" in box && box.isConnected && !box.matches(":popover-open")) box.showPopover();
  }
  const place = choosePlace(box.offsetWidth, box.offsetHeight, point, [window.innerWidth, window.innerHeight], covered);
  box.style.transform = `translate(${Math.round(place.left)}px, ${Math.round(place.top)}px)`;
}

/**
 * Hides the list if it is the chart's.
 * @param {unknown} chart
 */
export function hideValues(chart) {
  if (owner !== chart || !list) return;
  owner = null;
  list.classList.remove("shown");
  if ("hidePopover" in list && list.matches(":popover-open")) list.hidePopover();
}

/** @type {HTMLElement | null} */
let status = null;

/**
 * Tells screen readers what the keys moved the cursor to.
 * @param {string} text
 */
export function say(text) {
  if (!status) {
    status = document.createElement("div");
    status.className = "chart-status";
    status.setAttribute("role", "status");
    document.body.append(status);
  }
  status.textContent = text;
}

/**
 * The place that covers least; of equal ones the first: right below, right above, left below, left above, then centred ones.
 * @param {number} width
 * @param {number} height
 * @param {[number, number]} point
 * @param {[number, number]} screen
 * @param {(box: Box) => number} covered
 * @returns {Box}
 */
export function choosePlace(width, height, point, screen, covered) {
  const [x, y] = point;
  const right = x + GAP;
  const left = x - GAP - width;
  /** @type {[number, number][]} */
  const places = [
    [right, y + GAP], [left, y + GAP], [right, y - GAP - height], [left, y - GAP - height],
    [right, y - height / 2], [left, y - height / 2], [x - width / 2, y + 3 * GAP], [x - width / 2, y - 3 * GAP - height],
    [right, y + 5 * GAP], [left, y + 5 * GAP], [right, y - 5 * GAP - height], [left, y - 5 * GAP - height],
    [right + 4 * GAP, y - height / 2], [left - 4 * GAP, y - height / 2],
  ];
  let best = { left: 0, top: 0, width, height };
  let least = Infinity;
  places.forEach(([placeX, placeY], i) => {
    const box = {
      left: Math.max(4, Math.min(placeX, screen[0] - width - 4)), top: Math.max(4, Math.min(placeY, screen[1] - height - 4)), width, height,
    };
    const onCursor = x > box.left - 6 && x < box.left + width + 6 && y > box.top - 6 && y < box.top + height + 6;
    const cost = covered(box) + (onCursor ? 1e6 : 0) + i * 0.01;
    if (cost < least) {
      least = cost;
      best = box;
    }
  });
  return best;
}

/**
 * @param {HTMLElement} box
 * @param {string} head
 * @param {Row[]} rows
 * @param {string} foot
 */
function fill(box, head, rows, foot) {
  const part = (/** @type {string} */ name, /** @type {string} */ text) => {
    const node = document.createElement("span");
    node.className = name;
    node.textContent = text;
    return node;
  };
  const children = [];
  const labels = rows.map((row) => row.label);
  if (head) children.push(part("chart-values-head", head));
  for (const row of rows) {
    const node = part(row.nearest ? "chart-values-row nearest" : "chart-values-row", "");
    const swatch = part(row.dashed ? "chart-values-swatch dashed" : "chart-values-swatch", "");
    swatch.style.borderTopColor = row.color;
    const label = part("chart-values-label", shorten(row.label, labels, NAME_LENGTH));
    label.dir = "auto";
    node.append(swatch, label, part("chart-values-value", row.value), part("chart-values-detail", row.detail));
    children.push(node);
  }
  if (foot) children.push(part("chart-values-foot", foot));
  box.replaceChildren(...children);
}
