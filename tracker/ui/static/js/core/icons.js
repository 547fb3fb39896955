/** Icons: 16 × 16, drawn with the color of the text, so that no font has to have them. */
import { svg } from "./dom.js";

/** @type {Record<string, string>} */
const PATHS = {
  reset: "M2.5 8a5.5 5.5 0 1 0 1.8-4.1M2.5 2.5v3h3",
  full: "M2.5 6v-3.5h3.5M10 2.5h3.5v3.5M13.5 10v3.5h-3.5M6 13.5h-3.5v-3.5",
  pin: "M5.5 2.5h5M6.5 2.5v4l-2 3h7l-2-3v-4M8 9.5v4.5",
  download: "M8 2.5v7.5M4.8 7 8 10.2 11.2 7M3 13.5h10",
  log: "M3 2.5v11h10.5M5 11c1.5 0 2-1.5 2.5-3S9 4 13 4",
  close: "M3.5 3.5l9 9M12.5 3.5l-9 9",
  previous: "M10 3 5 8l5 5",
  next: "M6 3l5 5-5 5",
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM10.8 10.8 14 14",
  flag: "M4 14V2.5h8l-2 3 2 3H4",
  more: "M3 7.4a.6.6 0 1 0 .01 0zM8 7.4a.6.6 0 1 0 .01 0zM13 7.4a.6.6 0 1 0 .01 0z",
  column: "M8 2.4a.6.6 0 1 0 .01 0zM8 7.4a.6.6 0 1 0 .01 0zM8 12.4a.6.6 0 1 0 .01 0z",
  filter: "M2.5 3.5h11L9.5 8.5v4l-3-1.5v-2.5z",
  fold: "M7.5 3.5 3.5 8l4 4.5M12.5 3.5l-4 4.5 4 4.5",
  unfold: "M3.5 3.5l4 4.5-4 4.5M8.5 3.5l4 4.5-4 4.5",
  auto: "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11M6.4 3.2v9.6M4.8 4.2v7.6",
  light: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M12.6 3.4l-.7.7M4.1 11.9l-.7.7",
  dark: "M13 9.5A5.5 5.5 0 1 1 6.5 3 4.5 4.5 0 0 0 13 9.5z",
  table: "M2.5 3.5h11v9h-11zM2.5 6.5h11M2.5 9.5h11M6.5 3.5v9",
};

/**
 * @param {string} name
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 16 16", width: "16", height: "16", "aria-hidden": "true" },
    svg("path", { d: PATHS[name], fill: "none", stroke: "currentColor", "stroke-width": "1.4", "stroke-linecap": "round", "stroke-linejoin": "round" }));
}

/**
 * A piece of a line as it is drawn in the chart, for legends.
 * @param {{color: string, dash?: number[]}} line
 * @returns {SVGSVGElement}
 */
export function lineSample({ color, dash }) {
  return svg("svg", { class: "line-sample", viewBox: "0 0 20 4", width: "20", height: "4", "aria-hidden": "true" },
    svg("line", { x1: "0", x2: "20", y1: "2", y2: "2", stroke: color, "stroke-width": "2", "stroke-dasharray": dash?.length ? dash.join(" ") : null }));
}
