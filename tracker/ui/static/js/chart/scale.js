/**
 * Scales: a value to a pixel and back. Pure; does not know what is drawn.
 *
 * @typedef {"linear" | "log"} ScaleKind
 *
 * @typedef {object} Scale
 * @property {ScaleKind} kind
 * @property {number} low Value at `start`.
 * @property {number} high Value at `end`.
 * @property {number} start Pixel.
 * @property {number} end Pixel; may be less than `start`.
 * @property {(value: number) => number} at Pixel of a value; NaN where a log scale has none.
 * @property {(pixel: number) => number} invert Value at a pixel.
 */

/** Furthest pixel that is handed to a canvas, which computes with 32-bit floats. */
const FAR = 1e6;

/**
 * @param {ScaleKind} kind
 * @param {number} low
 * @param {number} high
 * @param {number} start
 * @param {number} end
 * @returns {Scale}
 */
export function createScale(kind, low, high, start, end) {
  const length = end - start;
  if (kind === "log") {
    const base = Math.log10(low);
    const span = Math.log10(high) - base || 1;
    const factor = length / span;
    return {
      kind, low, high, start, end,
      at: (value) => (value > 0 ? clamp(start + (Math.log10(value) - base) * factor) : NaN),
      invert: (pixel) => 10 ** (base + ((pixel - start) / length) * span),
    };
  }
  // Halves, so that the span of two huge values of opposite sign does not overflow.
  const span = high / 2 - low / 2 || 0.5;
  return {
    kind, low, high, start, end,
    at: (value) => clamp(start + ((value / 2 - low / 2) / span) * length),
    invert: (pixel) => {
      const share = (pixel - start) / length;
      return low * (1 - share) + high * share;
    },
  };
}

/** @param {number} pixel */
function clamp(pixel) {
  return pixel > FAR ? FAR : pixel < -FAR ? -FAR : pixel;
}

/**
 * A range that can be drawn: ascending, not empty, positive for a log scale.
 * @param {number} low
 * @param {number} high
 * @param {ScaleKind} kind
 * @param {number} [margin] Share of the range added on both sides.
 * @returns {[number, number]}
 */
export function usableRange(low, high, kind, margin = 0) {
  if (!(low <= high)) return kind === "log" ? [1, 10] : [0, 1];
  if (kind === "log") {
    if (!(high > 0)) return [1, 10];
    const bottom = low > 0 ? low : high / 1e6;
    if (bottom === high) return [bottom / 2, high * 2 < Infinity ? high * 2 : high];
    const add = (high / bottom) ** margin;
    return [Math.max(bottom / add, Number.MIN_VALUE), Math.min(high * add, Number.MAX_VALUE)];
  }
  if (low === high) {
    const add = low === 0 ? 1 : Math.abs(low) * 0.05;
    return [Math.max(low - add, -Number.MAX_VALUE), Math.min(high + add, Number.MAX_VALUE)];
  }
  const add = (high / 2 - low / 2) * 2 * margin;
  if (!Number.isFinite(add)) return [-Number.MAX_VALUE, Number.MAX_VALUE];
  return [Math.max(low - add, -Number.MAX_VALUE), Math.min(high + add, Number.MAX_VALUE)];
}

/**
 * The range scaled around a value: factor < 1 zooms in.
 * @param {Scale} scale
 * @param {number} factor
 * @param {number} pixel Stays where it is.
 * @returns {[number, number]}
 */
export function zoomRange(scale, factor, pixel) {
  const a = pixel + (scale.start - pixel) * factor;
  const b = pixel + (scale.end - pixel) * factor;
  return ordered(scale.invert(a), scale.invert(b));
}

/**
 * The range moved by pixels.
 * @param {Scale} scale
 * @param {number} pixels Positive moves the picture towards `end`'s side of the screen axis.
 * @returns {[number, number]}
 */
export function panRange(scale, pixels) {
  return ordered(scale.invert(scale.start - pixels), scale.invert(scale.end - pixels));
}

/**
 * @param {number} a
 * @param {number} b
 * @returns {[number, number]}
 */
export function ordered(a, b) {
  return a <= b ? [a, b] : [b, a];
}
