/**
 * The surface whose picture is an SVG file. Pure but for the measuring of text, which is handed in.
 */

/**
 * Text as XML character data or attribute value. Characters that XML does not allow are left out.
 * @param {string} text
 * @returns {string}
 */
export function escapeXml(text) {
  return text
    // eslint-disable-next-line no-control-regex
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "")
    .replace(/&/g, "&amp;")
    .replace(/</g, "&lt;")
    .replace(/>/g, "&gt;")
    .replace(/"/g, "&quot;")
    .replace(/'/g, "&#39;");
}

/** @param {number} value */
function short(value) {
  return String(Math.round(value * 100) / 100);
}

/**
 * @param {number} width
 * @param {number} height
 * @param {string} font
 * @param {(text: string, size: number, bold?: boolean) => number} measure
 * @returns {import("./canvas.js").Surface & {
 *   finish: (background: string, label: string) => string, shifted: (dx: number, dy: number, draw: () => void) => void}}
 */
export function svgSurface(width, height, font, measure) {
  /** @type {string[]} */
  const parts = [];
  let clips = 0;

  /**
   * @param {import("./canvas.js").Stroke} style
   * @param {boolean} fill
   */
  function paint(style, fill) {
    const alpha = style.alpha ?? 1;
    const color = escapeXml(style.color);
    const opacity = alpha < 1 ? ` opacity="${short(alpha)}"` : "";
    if (fill) return `fill="${color}"${opacity}`;
    const dash = style.dash?.length ? ` stroke-dasharray="${style.dash.map(short).join(" ")}"` : "";
    return `fill="none" stroke="${color}" stroke-width="${short(style.width ?? 1)}" stroke-linejoin="bevel"${dash}${opacity}`;
  }

  /**
   * @param {string[]} path
   * @param {import("./canvas.js").Stroke} style
   * @param {boolean} fill
   */
  function add(path, style, fill) {
    if (path.length) parts.push(`<path d="${path.join("")}" ${paint(style, fill)}/>`);
  }

  return {
    pixel: 1,
    line(xs, ys, breaks, count, style) {
      const path = [];
      let open = false;
      for (let i = 0; i < count; i++) {
        if (ys[i] !== ys[i]) {
          open = false;
          continue;
        }
        const starts = !open || breaks[i] === 1;
        path.push(`${starts ? "M" : "L"}${short(xs[i])} ${short(ys[i])}`);
        const last = i + 1 >= count || breaks[i + 1] === 1 || ys[i + 1] !== ys[i + 1];
        if (starts && last) path.push("h0.75");
        open = true;
      }
      add(path, style, false);
    },
    area(xs, lows, highs, breaks, count, style) {
      const path = [];
      let first = 0;
      for (let i = 0; i <= count; i++) {
        const ends = i === count || (i > first && breaks[i] === 1) || highs[i] !== highs[i];
        if (!ends) continue;
        if (i > first) {
          const lone = i - first === 1 ? 0.5 : 0;
          for (let j = first; j < i; j++) path.push(`${j === first ? "M" : "L"}${short(xs[j] - lone)} ${short(highs[j])}`);
          for (let j = i - 1; j >= first; j--) path.push(`L${short(xs[j] + lone)} ${short(lows[j])}`);
          path.push("Z");
        }
        first = i < count && highs[i] !== highs[i] ? i + 1 : i;
      }
      add(path, style, true);
    },
    needles(xs, tops, bottoms, count, style) {
      const path = [];
      for (let i = 0; i < count; i++) path.push(`M${short(xs[i])} ${short(tops[i])}V${short(bottoms[i])}`);
      add(path, style, false);
    },
    markers(xs, ys, count, radius, style) {
      const path = [];
      const size = short(radius);
      for (let i = 0; i < count; i++) {
        if (ys[i] !== ys[i]) continue;
        path.push(`M${short(xs[i] - radius)} ${short(ys[i])}a${size} ${size} 0 1 0 ${short(2 * radius)} 0a${size} ${size} 0 1 0 ${short(-2 * radius)} 0Z`);
      }
      add(path, style, true);
    },
    rule(x0, y0, x1, y1, style) {
      add([`M${short(x0)} ${short(y0)}L${short(x1)} ${short(y1)}`], style, false);
    },
    box(x, y, w, h, style) {
      parts.push(`<rect x="${short(x)}" y="${short(y)}" width="${short(w)}" height="${short(h)}" ${paint(style, true)}/>`);
    },
    triangle(x, y, size, up, style) {
      const half = size / 2;
      const tip = up ? y - half : y + half;
      const base = up ? y + half : y - half;
      add([`M${short(x)} ${short(tip)}L${short(x + half)} ${short(base)}H${short(x - half)}Z`], style, true);
    },
    text(text, x, y, style) {
      const size = style.size ?? 11;
      const anchor = { left: "start", center: "middle", right: "end" }[style.align ?? "left"];
      const shift = { top: 0.8, middle: 0.35, bottom: -0.2 }[style.baseline ?? "middle"] * size;
      const halo = style.halo ? ` stroke="${escapeXml(style.halo)}" stroke-width="3" paint-order="stroke" stroke-linejoin="round"` : "";
      const weight = style.bold ? ` font-weight="600"` : "";
      parts.push(
        `<text x="${short(x)}" y="${short(y + shift)}" font-size="${size}" text-anchor="${anchor}" fill="${escapeXml(style.color)}"${weight}${halo}>` +
          `${escapeXml(text)}</text>`,
      );
    },
    clip(x, y, w, h, draw) {
      const id = `clip${++clips}`;
      parts.push(`<clipPath id="${id}"><rect x="${short(x)}" y="${short(y)}" width="${short(w)}" height="${short(h)}"/></clipPath><g clip-path="url(#${id})">`);
      draw();
      parts.push("</g>");
    },
    measure,
    shifted(dx, dy, draw) {
      parts.push(`<g transform="translate(${short(dx)} ${short(dy)})">`);
      draw();
      parts.push("</g>");
    },
    finish(background, label) {
      return (
        `<svg xmlns="http://www.w3.org/2000/svg" width="${short(width)}" height="${short(height)}" viewBox="0 0 ${short(width)} ${short(height)}" ` +
        `font-family="${escapeXml(font)}" role="img" aria-label="${escapeXml(label)}"><title>${escapeXml(label)}</title>` +
        `<rect width="100%" height="100%" fill="${escapeXml(background)}"/>${parts.join("")}</svg>\n`
      );
    },
  };
}
