/**
 * A chart as a picture file, with what the page shows around it: title, axis names, legend.
 */
import { canvasSurface } from "./canvas.js";
import { drawPicture } from "./draw.js";
import { makePicture } from "./picture.js";
import { svgSurface } from "./svg.js";
import { describe } from "./describe.js";

/**
 * @typedef {import("./series.js").Line} Line
 * @typedef {import("./picture.js").Options} Options
 * @typedef {import("./theme.js").Theme} Theme
 * @typedef {import("./canvas.js").Surface} Surface
 *
 * @typedef {object} Legend
 * @property {{line: Line, x: number, y: number, text: string}[]} entries
 * @property {number} height
 */

const PAD = 12;
const TITLE = 26;
const AXIS = 18;
const ROW = 18;
/** Device pixels per CSS pixel of a PNG. */
const PNG_RATIO = 2;

/**
 * @param {Line[]} lines
 * @param {number} width
 * @param {(text: string, size: number) => number} measure
 * @returns {Legend}
 */
function legendOf(lines, width, measure) {
  const entries = [];
  let x = 0;
  let y = 0;
  for (const line of lines) {
    const text = fit(line.label, width - 24, measure);
    const wide = 22 + measure(text, 11) + 16;
    if (x > 0 && x + wide > width) {
      x = 0;
      y += ROW;
    }
    entries.push({ line, x, y, text });
    x += wide;
  }
  return { entries, height: lines.length ? y + ROW : 0 };
}

/**
 * @param {string} text
 * @param {number} width
 * @param {(text: string, size: number) => number} measure
 */
function fit(text, width, measure) {
  if (measure(text, 11) <= width) return text;
  let keep = text.length;
  while (keep > 1 && measure(`…${text.slice(-keep)}`, 11) > width) keep = Math.floor(keep * 0.9);
  return `…${text.slice(-keep)}`;
}

/**
 * @param {Line[]} lines
 * @param {Options} options
 * @param {[number, number]} size Of the plot with its labels.
 * @param {(text: string, size: number) => number} measure
 */
function arrange(lines, options, size, measure) {
  const legend = legendOf(lines, size[0] - 20, measure);
  const width = size[0] + 2 * PAD;
  const height = PAD + TITLE + size[1] + AXIS + legend.height + PAD;
  return { legend, width, height };
}

/**
 * @param {Surface} surface
 * @param {(dx: number, dy: number, draw: () => void) => void} shifted
 * @param {Line[]} lines
 * @param {Options} options
 * @param {[number, number]} size
 * @param {Theme} theme
 * @param {Legend} legend
 */
function drawAll(surface, shifted, lines, options, size, theme, legend) {
  surface.text(options.title, PAD, PAD + 8, { color: theme.text, size: 14, bold: true });
  const picture = makePicture(lines, { ...options, nameX: false }, size[0], size[1], surface.pixel, surface.measure);
  shifted(PAD, PAD + TITLE, () => drawPicture(surface, picture, theme));
  const note = options.smooth > 0 ? `, smoothed (${options.smoothKind}, ${options.smooth} in units of ${options.xLabel})` : "";
  const below = PAD + TITLE + size[1] + 8;
  const name = `${options.xLabel}${options.logX ? " (log)" : ""}${options.logY ? `, ${options.title} on a log axis` : ""}${note}`;
  surface.text(name, PAD + (picture.plot.left + picture.plot.right) / 2, below, { color: theme.muted, align: "center" });
  shifted(PAD + 10, below + AXIS, () => {
    for (const { line, x, y, text } of legend.entries) {
      surface.rule(x, y, x + 16, y, { color: line.color, width: 2, dash: line.dash });
      surface.text(text, x + 22, y, { color: theme.text });
    }
  });
}

/**
 * @param {Line[]} lines
 * @param {Options} options
 * @param {[number, number]} size
 * @param {Theme} theme
 * @returns {Promise<Blob>}
 */
export function exportPng(lines, options, size, theme) {
  const canvas = document.createElement("canvas");
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const surface = canvasSurface(context, PNG_RATIO, theme.font);
  const { legend, width, height } = arrange(lines, options, size, surface.measure);
  canvas.width = Math.round(width * PNG_RATIO);
  canvas.height = Math.round(height * PNG_RATIO);
  context.scale(PNG_RATIO, PNG_RATIO);
  surface.box(0, 0, width, height, { color: theme.surface });
  const shifted = (/** @type {number} */ dx, /** @type {number} */ dy, /** @type {() => void} */ draw) => {
    context.save();
    context.translate(dx, dy);
    draw();
    context.restore();
  };
  drawAll(surface, shifted, lines, options, size, theme, legend);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the browser could not make a PNG of this size"))), "image/png");
  });
}

/**
 * @param {Line[]} lines
 * @param {Options} options
 * @param {[number, number]} size
 * @param {Theme} theme
 * @returns {string}
 */
export function exportSvg(lines, options, size, theme) {
  const context = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
  const { measure } = canvasSurface(context, 1, theme.font);
  const { legend, width, height } = arrange(lines, options, size, measure);
  const surface = svgSurface(width, height, theme.font, measure);
  drawAll(surface, surface.shifted, lines, options, size, theme, legend);
  return surface.finish(theme.surface, describe(lines, options));
}
