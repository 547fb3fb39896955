/**
 * Which line is nearest to a pixel, and what each line's value is at an x. Pure.
 */
import { lowerBound } from "./series.js";

/**
 * @typedef {import("./shape.js").Shape} Shape
 *
 * @typedef {object} Reading A line's entry at an x.
 * @property {Shape} shape
 * @property {number} index Bucket of the shape's trace.
 * @property {number} pixelX
 * @property {number} pixelY NaN where there is no finite value.
 */

/**
 * The shape nearest to a pixel, by distance to its line and needles in both directions.
 * @param {Shape[]} shapes
 * @param {number} px
 * @param {number} py
 * @param {number} [reach] Distance in pixels along x within which lines are looked at.
 * @returns {{shape: Shape, distance: number} | null}
 */
export function nearestShape(shapes, px, py, reach = 40) {
  let best = null;
  let least = Infinity;
  for (const shape of shapes) {
    const distance = distanceTo(shape, px, py, reach);
    if (distance < least || (distance === least && shape.line.raised)) {
      least = distance;
      best = shape;
    }
  }
  return best && { shape: best, distance: Math.sqrt(least) };
}

/**
 * @param {Shape} shape
 * @param {number} px
 * @param {number} py
 * @param {number} reach
 * @returns {number} Squared distance.
 */
function distanceTo(shape, px, py, reach) {
  const { xs, ys, breaks, count, needles } = shape;
  let least = Infinity;
  const first = Math.max(0, lowerBound(xs, px - reach) - 1);
  for (let i = first; i < count; i++) {
    if (ys[i] === ys[i]) {
      const joined = i > 0 && !breaks[i] && ys[i - 1] === ys[i - 1];
      const distance = joined ? segment(px, py, xs[i - 1], ys[i - 1], xs[i], ys[i]) : (px - xs[i]) ** 2 + (py - ys[i]) ** 2;
      if (distance < least) least = distance;
    }
    if (xs[i] > px + reach) break;
  }
  for (let i = 0; i < needles.count; i++) {
    if (Math.abs(needles.xs[i] - px) > reach) continue;
    const distance = segment(px, py, needles.xs[i], needles.tops[i], needles.xs[i], needles.bottoms[i]);
    if (distance < least) least = distance;
  }
  return least;
}

/**
 * Squared distance of a pixel to a segment.
 * @param {number} px
 * @param {number} py
 * @param {number} ax
 * @param {number} ay
 * @param {number} bx
 * @param {number} by
 */
export function segment(px, py, ax, ay, bx, by) {
  const dx = bx - ax;
  const dy = by - ay;
  const length = dx * dx + dy * dy;
  const share = length > 0 ? Math.min(1, Math.max(0, ((px - ax) * dx + (py - ay) * dy) / length)) : 0;
  return (px - ax - share * dx) ** 2 + (py - ay - share * dy) ** 2;
}

/**
 * The bucket of a shape nearest to a pixel column; null where the line has ended or not begun.
 * @param {Shape} shape
 * @param {number} px
 * @param {number} [reach] How far beyond its ends a line still answers.
 * @returns {Reading | null}
 */
export function readingAt(shape, px, reach = 8) {
  const { xs, ys, count, first } = shape;
  if (!count || px < xs[0] - reach || px > xs[count - 1] + reach) return null;
  let i = lowerBound(xs, px);
  if (i >= count) i = count - 1;
  if (i > 0 && px - xs[i - 1] < xs[i] - px) i--;
  return { shape, index: first + i, pixelX: xs[i], pixelY: ys[i] };
}

/**
 * Readings for the list at the cursor: the nearest line's first, then those nearest to the pointer, at most `most`, in the
 * order in which they lie on the screen.
 * @param {Shape[]} shapes
 * @param {number} px
 * @param {number} py
 * @param {Shape | null} nearest
 * @param {number} most
 * @returns {{readings: Reading[], hidden: number}}
 */
export function readingsAt(shapes, px, py, nearest, most) {
  const all = [];
  for (const shape of shapes) {
    const reading = readingAt(shape, px);
    if (reading) all.push(reading);
  }
  const far = (/** @type {Reading} */ reading) =>
    reading.shape === nearest ? -1 : Number.isNaN(reading.pixelY) ? 1e9 : Math.abs(reading.pixelY - py);
  all.sort((a, b) => far(a) - far(b));
  const readings = all.slice(0, most);
  const place = (/** @type {Reading} */ reading) => (Number.isNaN(reading.pixelY) ? 1e9 : reading.pixelY);
  readings.sort((a, b) => place(a) - place(b));
  return { readings, hidden: all.length - readings.length };
}
