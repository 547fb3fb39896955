/**
 * Draws a picture on a surface: grid, bands, lines, needles, markers, strip, labels; and what lies over it: the cursor, the
 * raised run, the selection. Does not compute what is drawn.
 */
import { drawGrid, drawLabels } from "./axes.js";
import { MOST_BANDS, STRIP } from "./picture.js";
import { label } from "./ticks.js";

/**
 * @typedef {import("./picture.js").Picture} Picture
 * @typedef {import("./canvas.js").Surface} Surface
 * @typedef {import("./theme.js").Theme} Theme
 * @typedef {import("./shape.js").Shape} Shape
 */

/** Least average distance between points that get markers, in CSS pixels. */
const MARKER_DISTANCE = 7;
/** Maximum number of lines that are drawn dashed: of more, dashes tell no line from another, and make patterns of their own. */
const MOST_DASHED = 30;
/** Lines up to this many are drawn wider where a device pixel is less than a CSS pixel. */
const FEW = 3;

/**
 * @param {Surface} surface
 * @param {Picture} picture
 * @param {Theme} theme
 */
export function drawPicture(surface, picture, theme) {
  const { plot } = picture;
  drawGrid(surface, picture, theme, STRIP);
  if (picture.empty) {
    surface.text(picture.empty, (plot.left + plot.right) / 2, (plot.top + plot.bottom) / 2, { color: theme.muted, align: "center", size: 12 });
  } else {
    clipPlot(surface, picture, () => {
      for (const shape of picture.shapes) drawBand(surface, picture, shape);
      for (const shape of picture.shapes) drawLine(surface, picture, shape, false);
    });
    drawClipped(surface, picture, theme);
  }
  drawStrip(surface, picture, theme);
  drawLabels(surface, picture, theme, STRIP);
  drawNotes(surface, picture, theme);
}

/**
 * Clips to the plot; markers at its edges are whole where nothing lies beyond them.
 * @param {Surface} surface
 * @param {Picture} picture
 * @param {() => void} draw
 */
export function clipPlot(surface, { plot, options }, draw) {
  const side = options.xRange ? 0 : 3;
  surface.clip(plot.left - side, plot.top - 4, plot.right - plot.left + 1 + 2 * side, plot.bottom - plot.top + 7, draw);
}

/**
 * @param {Surface} surface
 * @param {Picture} picture
 * @param {Shape} shape
 */
function drawBand(surface, picture, shape) {
  const { line, xs, lows, highs, breaks, count } = shape;
  if (!line.band && (!picture.bands || shape.trace.raw)) return;
  const alpha = picture.shapes.length > MOST_BANDS ? 0.08 : picture.shapes.length > 2 ? 0.14 : 0.2;
  surface.area(xs, lows, highs, breaks, count, { color: line.color, alpha });
}

/**
 * @param {Surface} surface
 * @param {Picture} picture
 * @param {Shape} shape
 * @param {boolean} raised
 */
export function drawLine(surface, picture, shape, raised) {
  const { line, xs, ys, raws, breaks, partial, count, needles } = shape;
  const { color } = line;
  const strong = raised || line.raised;
  const dash = strong || picture.shapes.length <= MOST_DASHED ? line.dash : undefined;
  const width = strong ? 2 : picture.shapes.length <= FEW ? Math.max(surface.pixel, Math.ceil(1 / surface.pixel - 0.5) * surface.pixel) : surface.pixel;
  if (raws) surface.line(xs, raws, breaks, count, { color, dash, alpha: 0.3 });
  if (needles.count) surface.needles(needles.xs, needles.tops, needles.bottoms, needles.count, { color, alpha: raws && !strong ? 0.6 : 0.85 });
  if (partial) {
    surface.line(xs, ys, masked(breaks, partial, 1), count, { color, dash, width });
    surface.line(xs, ys, masked(breaks, partial, 0), count, { color, dash: [1, 3], width });
  } else surface.line(xs, ys, breaks, count, { color, dash, width });
  const [shown, points] = markersOf(shape, picture);
  if (shown) surface.markers(xs, points, count, strong ? 2.5 : 2, { color });
}

/**
 * Breaks that keep only the parts of a group's line where all its runs count, or where some do not.
 * @param {Uint8Array} breaks
 * @param {Uint8Array} partial
 * @param {0 | 1} hidden Value of `partial` whose parts are left out.
 */
function masked(breaks, partial, hidden) {
  const result = breaks.slice();
  for (let i = 1; i < result.length; i++) if (partial[i] === hidden) result[i] = 1;
  return result;
}

/**
 * @param {Shape} shape
 * @param {Picture} picture
 * @returns {[boolean, Float32Array]}
 */
function markersOf(shape, picture) {
  const points = shape.raws ?? shape.ys;
  if (shape.count === 1 || (shape.trace.raw && picture.shapes.length <= 40)) {
    const { xs, count } = shape;
    return [xs[count - 1] - xs[0] >= (count - 1) * MARKER_DISTANCE, points];
  }
  return [false, points];
}

/**
 * @param {Surface} surface
 * @param {Picture} picture
 * @param {Theme} theme
 */
function drawClipped(surface, picture, theme) {
  const { plot, clipped } = picture;
  /** @type {[number, number, boolean][]} */
  const taken = [];
  for (const mark of clipped.slice(0, 200)) {
    if (mark.pixel < plot.left || mark.pixel > plot.right) continue;
    const at = mark.top ? plot.top + 1 : plot.bottom - 4;
    surface.triangle(mark.pixel, at, 7, mark.top, { color: mark.color });
    const text = label(mark.value, 0);
    const width = surface.measure(text, 10);
    const right = mark.pixel + 6 + width < plot.right;
    const from = right ? mark.pixel + 6 : mark.pixel - 6 - width;
    if (taken.length < 3 && taken.every(([a, b, top]) => top !== mark.top || from > b + 4 || from + width < a - 4)) {
      taken.push([from, from + width, mark.top]);
      surface.text(text, from, mark.top ? at + 2 : at - 2, { color: theme.text, size: 10, halo: theme.surface });
    }
  }
}

/**
 * @param {Surface} surface
 * @param {Picture} picture
 * @param {Theme} theme
 */
function drawStrip(surface, picture, theme) {
  const { plot, marks } = picture;
  const top = plot.bottom + 1;
  /** @type {Set<string>} */
  const drawn = new Set();
  for (const mark of marks) {
    if (mark.pixel < plot.left - 1 || mark.pixel > plot.right + 1) continue;
    const id = `${mark.kind} ${Math.round(mark.pixel)}`;
    if (drawn.has(id)) continue;
    drawn.add(id);
    if (mark.kind === "spike") surface.box(Math.round(mark.pixel) - 0.5, top + 3, 1, STRIP - 3, { color: theme.warn });
    else if (mark.kind === "+Inf") surface.triangle(mark.pixel, top + 3, 6, true, { color: theme.bad });
    else if (mark.kind === "-Inf") surface.triangle(mark.pixel, top + 3, 6, false, { color: theme.bad });
    else surface.box(Math.round(mark.pixel) - 1, top, 2, STRIP, { color: theme.bad });
  }
}

/**
 * @param {Surface} surface
 * @param {Picture} picture
 * @param {Theme} theme
 */
function drawNotes(surface, picture, theme) {
  const { plot, notes } = picture;
  const { top, left } = picture.corner;
  const { nameX, xLabel } = picture.options;
  if (nameX) surface.text(fitEnd(surface, xLabel, (plot.right - plot.left) * 0.8), plot.right - 2, plot.bottom - 8, { color: theme.muted, align: "right", size: 10, halo: theme.surface });
  const shift = (picture.clipped.some((mark) => mark.top === top) ? 13 : 0) + (nameX && !top && !left ? 13 : 0);
  notes.forEach((note, i) => {
    const at = top ? plot.top + 5 + shift + 13 * i : plot.bottom - 8 - shift - 13 * (notes.length - 1 - i);
    surface.text(note, left ? plot.left + 4 : plot.right - 2, at, { color: theme.warn, align: left ? "left" : "right", size: 10, halo: theme.surface });
  });
}

/**
 * The end of a text that fits into a width.
 * @param {Surface} surface
 * @param {string} text
 * @param {number} width
 */
function fitEnd(surface, text, width) {
  let shown = text;
  while (shown.length > 4 && surface.measure(shown, 10) > width) shown = `…${shown.slice(-Math.floor(shown.length * 0.85))}`;
  return shown;
}
