/**
 * Marks of runs in a picture of the compare page: links that highlight their run everywhere, and what watches what they show.
 */
import { palette } from "../core/colors.js";
import { svg } from "../core/dom.js";
import { exact, number, shorten } from "../core/format.js";
import { highlighted } from "../core/runs.js";
import { change, view } from "../core/state.js";
import { numeric } from "./delta.js";

/**
 * @param {string} ref
 * @param {{class: string, label: string, tabindex?: string}} about
 * @param {(SVGElement | null)[]} shapes
 * @returns {SVGElement} opens the run's page
 */
export function runMark(ref, { class: name, label, tabindex = "0" }, shapes) {
  const raise = () => (highlighted.value = ref);
  const lower = () => (highlighted.value = null);
  return svg("a", { href: `#/run/${encodeURIComponent(ref)}`, class: name, tabindex, "aria-label": label, on: {
    click: (/** @type {MouseEvent} */ event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      change({ page: "run", ref, tab: "" });
    },
    pointerenter: raise, pointerleave: lower, focus: raise, blur: lower,
  } }, ...shapes);
}

/**
 * Show which run is highlighted.
 * @param {Map<string, SVGElement>} marks
 * @param {string | null} ref
 */
export function paintMarks(marks, ref) {
  for (const [own, mark] of marks) {
    mark.classList.toggle("lit", own === ref);
    mark.classList.toggle("dim", ref !== null && marks.has(ref) && own !== ref);
  }
}

/**
 * Call `show` when data, colours, size or settings change, `paint` when another run is highlighted.
 * @param {HTMLElement} frame
 * @param {import("../core/signal.js").Signal<any>} answer
 * @param {() => void} show
 * @param {(ref: string | null) => void} paint
 * @returns {() => void} ends it
 */
export function watchPicture(frame, answer, show, paint) {
  const sizes = new ResizeObserver(() => show());
  sizes.observe(frame);
  let shown = JSON.stringify(view.peek().options);
  const ends = [answer.subscribe(show), palette.subscribe(show), highlighted.subscribe(paint), view.subscribe((next) => {
    const text = JSON.stringify(next.options);
    if (text === shown) return;
    shown = text;
    show();
  })];
  show();
  return () => {
    sizes.disconnect();
    ends.forEach((end) => end());
    highlighted.value = null;
  };
}

/**
 * Which way a column's goal is, behind its name.
 * @param {{goal: string | null}} column
 */
export function goalSign({ goal }) {
  return goal ? (goal === "maximize" ? " ↑" : " ↓") : "";
}

/**
 * @param {any} value
 * @param {{most?: number, whole?: boolean}} [options] `whole`: numbers with all their digits
 * @returns {string}
 */
export function valueWords(value, { most = 24, whole = false } = {}) {
  if (value === null) return "not set";
  const one = numeric(value);
  if (one !== null) return whole ? exact(one) : number(one);
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return most ? shorten(text, [], most) : text;
}
