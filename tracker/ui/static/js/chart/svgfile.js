/**
 * An SVG element of the page as a file that looks the same elsewhere, and as a PNG.
 */
import { theme } from "./theme.js";

/** Properties that a style sheet may have set. */
const PROPERTIES = [
  "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "opacity", "font-size", "font-weight", "paint-order", "text-anchor", "visibility",
];
const PAD = 12;
const TITLE = 26;
/** Device pixels per CSS pixel of a PNG. */
const PNG_RATIO = 2;

/**
 * @param {SVGElement} picture
 * @param {string} title
 * @param {string} hidden Selector of elements to be left out.
 * @returns {string} SVG
 */
export function pictureFile(picture, title, hidden) {
  const { surface, text, font } = theme();
  const { width, height } = picture.getBoundingClientRect();
  const copy = /** @type {SVGElement} */ (picture.cloneNode(true));
  const originals = [picture, ...picture.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((element, i) => {
    const style = getComputedStyle(/** @type {Element} */ (originals[i]));
    for (const name of [...element.attributes].map((one) => one.name)) if (!KEPT.has(name)) element.removeAttribute(name);
    for (const name of PROPERTIES) {
      const value = style.getPropertyValue(name);
      if (value) element.setAttribute(name, value);
    }
    element.toggleAttribute("data-out", /** @type {Element} */ (originals[i]).matches(hidden));
  });
  for (const element of copy.querySelectorAll("[data-out]")) element.remove();
  const space = "http://www.w3.org/2000/svg";
  const make = (/** @type {string} */ tag, /** @type {Record<string, string | number>} */ attributes, content = "") => {
    const element = document.createElementNS(space, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
    element.textContent = content;
    return element;
  };
  const whole = [width + 2 * PAD, height + 2 * PAD + TITLE];
  const root = make("svg", { xmlns: space, width: whole[0], height: whole[1], viewBox: `0 0 ${whole[0]} ${whole[1]}`, "font-family": font, role: "img" });
  const group = make("g", { transform: `translate(${PAD} ${PAD + TITLE})` });
  group.append(...copy.childNodes);
  root.append(make("title", {}, title), make("rect", { width: "100%", height: "100%", fill: surface }), make("text", { x: PAD, y: PAD + 14, "font-size": 14, "font-weight": 600, fill: text }, title), group);
  return new XMLSerializer().serializeToString(root);
}

/** Attributes that say where something is. */
const KEPT = new Set(["x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "d", "width", "height", "transform"]);

/**
 * @param {string} svg
 * @returns {Promise<Blob>}
 */
export async function pngOf(svg) {
  const url = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = image.width * PNG_RATIO;
    canvas.height = image.height * PNG_RATIO;
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((resolve, reject) => {
      canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the browser could not make a PNG of this size"))), "image/png");
    });
  } finally {
    URL.revokeObjectURL(url);
  }
}
