/**
 * What lies over a picture and changes with the pointer: the raised run, the cursor, the selection. Does not know about input.
 */
import { clipPlot, drawLine } from "./draw.js";
import { readingAt } from "./nearest.js";
import { resolutionOf, valueText } from "./words.js";

/**
 * @typedef {object} Over
 * @property {string | null} run Raised run.
 * @property {number | null} cursor x of the vertical line.
 * @property {boolean} own The pointer is in this chart: its list shows the values.
 * @property {number | null} pinned x of the cursor that stays.
 * @property {{from: number, to: number, vertical: boolean} | null} selection In pixels.
 */

/**
 * @param {import("./canvas.js").Surface} surface
 * @param {import("./picture.js").Picture} picture
 * @param {import("./theme.js").Theme} theme
 * @param {Over} over
 */
export function drawOver(surface, picture, theme, over) {
  const { plot, shapes } = picture;
  const width = plot.right - plot.left;
  const height = plot.bottom - plot.top;
  const raised = over.run === null ? [] : shapes.filter((shape) => shape.line.run === over.run);
  if (raised.length) {
    clipPlot(surface, picture, () => {
      if (raised.length < shapes.length) surface.box(plot.left - 3, plot.top - 4, width + 7, height + 3, { color: theme.surface, alpha: 0.65 });
      for (const shape of raised) {
        const { line, xs, lows, highs, breaks, count } = shape;
        if (shapes.length > 1 && (line.band || (!shape.trace.raw && picture.options.band !== "none"))) {
          surface.area(xs, lows, highs, breaks, count, { color: line.color, alpha: 0.2 });
        }
        drawLine(surface, picture, shape, true);
      }
    });
  }
  if (over.pinned !== null) {
    const at = picture.x.at(over.pinned);
    if (at >= plot.left - 0.5 && at <= plot.right + 0.5) surface.rule(at, plot.top, at, plot.bottom, { color: theme.accent, dash: [4, 3] });
  }
  if (over.cursor !== null) drawCursor(surface, picture, theme, over, raised);
  if (over.selection) {
    const { from, to, vertical } = over.selection;
    const style = { color: theme.accent, alpha: 0.15 };
    const edge = { color: theme.accent };
    if (vertical) {
      const a = Math.max(plot.top, Math.min(from, to));
      const b = Math.min(plot.bottom, Math.max(from, to));
      surface.box(plot.left, a, width, b - a, style);
      surface.rule(plot.left, a, plot.right, a, edge);
      surface.rule(plot.left, b, plot.right, b, edge);
    } else {
      const a = Math.max(plot.left, Math.min(from, to));
      const b = Math.min(plot.right, Math.max(from, to));
      surface.box(a, plot.top, b - a, height, style);
      surface.rule(a, plot.top, a, plot.bottom, edge);
      surface.rule(b, plot.top, b, plot.bottom, edge);
    }
  }
}

/**
 * @param {import("./canvas.js").Surface} surface
 * @param {import("./picture.js").Picture} picture
 * @param {import("./theme.js").Theme} theme
 * @param {Over} over
 * @param {import("./shape.js").Shape[]} raised
 */
function drawCursor(surface, picture, theme, over, raised) {
  const { plot, x, shapes } = picture;
  const at = x.at(/** @type {number} */ (over.cursor));
  if (!(at >= plot.left - 0.5 && at <= plot.right + 0.5)) return;
  surface.rule(at, plot.top, at, plot.bottom, { color: theme.cursor });
  const marked = raised.length ? raised : shapes.length === 1 ? shapes : [];
  for (const shape of marked) {
    const reading = readingAt(shape, at);
    if (!reading || Number.isNaN(reading.pixelY)) continue;
    const px = Float32Array.of(reading.pixelX);
    const py = Float32Array.of(Math.min(Math.max(reading.pixelY, plot.top), plot.bottom));
    surface.markers(px, py, 1, 4.5, { color: theme.surface });
    surface.markers(px, py, 1, 3, { color: shape.line.color });
    if (over.own) continue;
    const value = (shape.smoothed ?? shape.trace.mean)[reading.index];
    const text = valueText(value, false, resolutionOf(picture.y));
    const wide = surface.measure(text, 11, true);
    const left = at + 8 + wide > plot.right;
    const y = Math.max(plot.top + 7, Math.min(plot.bottom - 7, py[0] - 10));
    surface.text(text, left ? at - 7 : at + 7, y, { color: theme.text, bold: true, align: left ? "right" : "left", halo: theme.surface });
  }
}
