/**
 * The list of values at the cursor: one floating element for the whole page, and one that a click has pinned, placed so that
 * they never cover the line they are about. Text only ever as text.
 *
 * @typedef {object} Row
 * @property {string} [run] What the line's `run` is.
 * @property {string} [href] Where its name leads, in a pinned list.
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
    list = makeList();
    list.setAttribute("aria-hidden", "true");
    document.body.append(list);
  }
  return list;
}

/** @returns {HTMLElement} A hidden list. */
function makeList() {
  const box = document.createElement("div");
  box.className = "chart-values";
  if ("popover" in box) box.setAttribute("popover", "manual");
  return box;
}

/**
 * @param {HTMLElement} box
 * @param {boolean} shown
 */
function reveal(box, shown) {
  if (box.classList.contains("shown") === shown) return;
  box.classList.toggle("shown", shown);
  if (!("showPopover" in box) || !box.isConnected || box.matches(":popover-open") === shown) return;
  if (shown) box.showPopover();
  else box.hidePopover();
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
  reveal(box, true);
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
  reveal(list, false);
}

/** @type {PinnedValues | null} */
let pinned = null;

function releasePinned() {
  pinned?.onRelease();
}

/** The list that a click has pinned beside a chart; it moves with the chart, and hides while the chart is out of view. */
export class PinnedValues {
  /**
   * @param {HTMLElement} anchor The chart's element.
   * @param {() => void} onRelease The user released it, or pinned another one.
   */
  constructor(anchor, onRelease) {
    /** @type {() => void} */
    this.onRelease = onRelease;
    releasePinned();
    pinned = this;
    this.anchor = anchor;
    /** @type {[number, number]} from the anchor's corner to that of the list */
    this.offset = [0, 0];
    this.box = makeList();
    this.box.classList.add("pinned");
    this.box.setAttribute("role", "dialog");
    this.box.setAttribute("aria-label", "Pinned values");
    // In an open dialog, what is outside of it cannot be clicked.
    (anchor.closest("dialog") ?? document.body).append(this.box);
    this.stop = new AbortController();
    const options = { signal: this.stop.signal, capture: true };
    addEventListener("scroll", () => this.follow(), options);
    addEventListener("resize", () => this.follow(), options);
    addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.box.classList.contains("shown")) return;
      event.preventDefault();
      event.stopPropagation();
      this.onRelease();
    }, options);
    this.watcher = new IntersectionObserver(([entry]) => reveal(this.box, entry.isIntersecting));
    this.watcher.observe(anchor);
  }

  /**
   * @param {string} head
   * @param {Row[]} rows
   * @param {string} foot
   * @param {[number, number]} point In the anchor.
   * @param {(box: Box) => number} covered
   */
  show(head, rows, foot, [x, y], covered) {
    const focused = this.box.contains(document.activeElement);
    fill(this.box, head, rows, foot);
    const release = document.createElement("button");
    release.type = "button";
    release.className = "chart-values-release";
    release.textContent = "Release (Esc)";
    release.addEventListener("click", () => this.onRelease());
    this.box.append(release);
    if (focused) release.focus();
    reveal(this.box, true);
    const { left, top } = this.anchor.getBoundingClientRect();
    const place = choosePlace(this.box.offsetWidth, this.box.offsetHeight, [left + x, top + y], [window.innerWidth, window.innerHeight], covered);
    this.offset = [place.left - left, place.top - top];
    this.follow();
  }

  follow() {
    const { left, top } = this.anchor.getBoundingClientRect();
    this.box.style.transform = `translate(${Math.round(left + this.offset[0])}px, ${Math.round(top + this.offset[1])}px)`;
  }

  close() {
    if (pinned === this) pinned = null;
    this.stop.abort();
    this.watcher.disconnect();
    reveal(this.box, false);
    this.box.remove();
  }
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
    const text = shorten(row.label, labels, NAME_LENGTH);
    const label = part("chart-values-label", row.href ? "" : text);
    label.dir = "auto";
    if (row.href) {
      const link = document.createElement("a");
      link.href = row.href;
      link.textContent = text;
      link.title = row.label;
      label.append(link);
    }
    node.append(swatch, label, part("chart-values-value", row.value), part("chart-values-detail", row.detail));
    children.push(node);
  }
  if (foot) children.push(part("chart-values-foot", foot));
  box.replaceChildren(...children);
}
