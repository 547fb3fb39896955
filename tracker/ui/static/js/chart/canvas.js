/**
 * The surface that pictures are drawn on, and its form on a canvas. `svg.js` has the form that makes a vector file: every
 * picture is drawn by the same calls on both. Coordinates are CSS pixels.
 *
 * @typedef {object} Stroke
 * @property {string} color
 * @property {number} [width] In CSS pixels; one device pixel if left out.
 * @property {number[]} [dash]
 * @property {number} [alpha]
 *
 * @typedef {object} TextStyle
 * @property {string} color
 * @property {"left" | "center" | "right"} [align]
 * @property {"top" | "middle" | "bottom"} [baseline]
 * @property {number} [size]
 * @property {boolean} [bold]
 * @property {string} [halo] Colour behind the letters.
 *
 * @typedef {object} Surface
 * @property {number} pixel Size of a device pixel.
 * @property {(xs: Float32Array, ys: Float32Array, breaks: Uint8Array, count: number, style: Stroke) => void} line
 *   A polyline; entry i is not joined to the one before where `breaks[i]` is set, nor where y is NaN.
 * @property {(xs: Float32Array, lows: Float32Array, highs: Float32Array, breaks: Uint8Array, count: number, style: Stroke) => void} area
 * @property {(xs: Float32Array, tops: Float32Array, bottoms: Float32Array, count: number, style: Stroke) => void} needles
 * @property {(xs: Float32Array, ys: Float32Array, count: number, radius: number, style: Stroke) => void} markers
 * @property {(x0: number, y0: number, x1: number, y1: number, style: Stroke) => void} rule
 * @property {(x: number, y: number, width: number, height: number, style: Stroke) => void} box
 * @property {(x: number, y: number, size: number, up: boolean, style: Stroke) => void} triangle
 * @property {(text: string, x: number, y: number, style: TextStyle) => void} text
 * @property {(x: number, y: number, width: number, height: number, draw: () => void) => void} clip
 * @property {(text: string, size: number, bold?: boolean) => number} measure Width of a text.
 */

/**
 * @param {CanvasRenderingContext2D} context Scaled so that one unit is a CSS pixel.
 * @param {number} ratio Device pixels per CSS pixel.
 * @param {string} font
 * @returns {Surface}
 */
export function canvasSurface(context, ratio, font) {
  const pixel = 1 / ratio;
  const snap = (/** @type {number} */ value) => (Math.floor(value * ratio) + 0.5) / ratio;

  /** @param {Stroke} style */
  function start(style) {
    context.strokeStyle = style.color;
    context.fillStyle = style.color;
    context.globalAlpha = style.alpha ?? 1;
    context.lineWidth = style.width ?? pixel;
    context.lineJoin = "bevel";
    context.setLineDash(style.dash ?? []);
    context.beginPath();
  }

  return {
    pixel,
    line(xs, ys, breaks, count, style) {
      start(style);
      let open = false;
      let alone = false;
      for (let i = 0; i < count; i++) {
        const y = ys[i];
        if (y !== y) {
          if (alone) context.lineTo(xs[i - 1] + 0.75, ys[i - 1]);
          open = alone = false;
        } else if (!open || breaks[i]) {
          if (alone) context.lineTo(xs[i - 1] + 0.75, ys[i - 1]);
          context.moveTo(xs[i], y);
          open = alone = true;
        } else {
          alone = false;
          // One long segment where the line is level: joints of many short ones show.
          if (y === ys[i - 1] && i + 1 < count && y === ys[i + 1] && !breaks[i + 1]) continue;
          context.lineTo(xs[i], y);
        }
      }
      if (alone) context.lineTo(xs[count - 1] + 0.75, ys[count - 1]);
      context.stroke();
    },
    area(xs, lows, highs, breaks, count, style) {
      start(style);
      let first = 0;
      for (let i = 0; i <= count; i++) {
        const ends = i === count || (i > first && breaks[i] === 1) || highs[i] !== highs[i];
        if (!ends) continue;
        if (i > first) {
          const lone = i - first === 1 ? pixel : 0;
          context.moveTo(xs[first] - lone, lows[first]);
          for (let j = first; j < i; j++) context.lineTo(xs[j] - lone, highs[j]);
          for (let j = i - 1; j >= first; j--) context.lineTo(xs[j] + lone, lows[j]);
          context.closePath();
        }
        first = i < count && highs[i] !== highs[i] ? i + 1 : i;
      }
      context.fill();
    },
    needles(xs, tops, bottoms, count, style) {
      start(style);
      for (let i = 0; i < count; i++) {
        const x = snap(xs[i]);
        context.moveTo(x, tops[i]);
        context.lineTo(x, bottoms[i]);
      }
      context.stroke();
    },
    markers(xs, ys, count, radius, style) {
      start(style);
      for (let i = 0; i < count; i++) {
        if (ys[i] !== ys[i]) continue;
        context.moveTo(xs[i] + radius, ys[i]);
        context.arc(xs[i], ys[i], radius, 0, 2 * Math.PI);
      }
      context.fill();
    },
    rule(x0, y0, x1, y1, style) {
      start(style);
      const flat = y0 === y1;
      const upright = x0 === x1;
      context.moveTo(upright ? snap(x0) : x0, flat ? snap(y0) : y0);
      context.lineTo(upright ? snap(x1) : x1, flat ? snap(y1) : y1);
      context.stroke();
    },
    box(x, y, width, height, style) {
      start(style);
      context.fillRect(x, y, width, height);
    },
    triangle(x, y, size, up, style) {
      start(style);
      const tip = up ? y - size / 2 : y + size / 2;
      const base = up ? y + size / 2 : y - size / 2;
      context.moveTo(x, tip);
      context.lineTo(x + size / 2, base);
      context.lineTo(x - size / 2, base);
      context.closePath();
      context.fill();
    },
    text(text, x, y, style) {
      context.globalAlpha = 1;
      context.setLineDash([]);
      context.font = `${style.bold ? "600 " : ""}${style.size ?? 11}px ${font}`;
      context.textAlign = style.align ?? "left";
      context.textBaseline = style.baseline ?? "middle";
      if (style.halo) {
        context.strokeStyle = style.halo;
        context.lineWidth = 3;
        context.lineJoin = "round";
        context.strokeText(text, x, y);
      }
      context.fillStyle = style.color;
      context.fillText(text, x, y);
    },
    clip(x, y, width, height, draw) {
      context.save();
      context.beginPath();
      context.rect(x, y, width, height);
      context.clip();
      draw();
      context.restore();
    },
    measure(text, size, bold = false) {
      context.font = `${bold ? "600 " : ""}${size}px ${font}`;
      return context.measureText(text).width;
    },
  };
}
