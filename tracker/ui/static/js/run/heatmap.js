/**
 * Histograms over steps as a heatmap on a canvas: a column per step or range of steps, darker where more values lie.
 */
import { h, replace } from "../core/dom.js";
import { numberTicks } from "../chart/ticks.js";
import { number, tick, whole } from "../core/format.js";
import { theme } from "../core/theme.js";
import { columnAt, fillCells } from "./density.js";

/** @typedef {import("./density.js").Histograms} Histograms */

const HEIGHT = 200;
const LEFT = 52;
const BOTTOM = 20;
const TOP = 6;

/**
 * @param {HTMLElement} node
 * @param {string} key
 * @returns {{set: (data: Histograms) => void, end: () => void}}
 */
export function mountHeatmap(node, key) {
  /** @type {Histograms | null} */
  let data = null;
  const canvas = h("canvas", { class: "heatmap-canvas", tabindex: "0", role: "img" });
  const reading = h("p", { class: "heatmap-reading muted", role: "status" });
  const frame = h("div", { class: "heatmap" }, canvas);
  replace(node, frame, reading);
  let chosen = -1;

  const draw = () => {
    const width = frame.clientWidth;
    if (!data || !width) return;
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(HEIGHT * ratio);
    canvas.style.setProperty("height", `${HEIGHT}px`);
    const context = canvas.getContext("2d");
    if (!context) return;
    const style = getComputedStyle(document.documentElement);
    const color = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    context.scale(ratio, ratio);
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const plot = { left: LEFT, right: width - 8, top: TOP, bottom: HEIGHT - BOTTOM };
    const columns = data.steps.length;
    context.fillStyle = color("--accent");
    const { y, wide, low, high } = fillCells(context, data, plot, ratio);
    context.strokeStyle = color("--line");
    context.fillStyle = color("--muted");
    context.lineWidth = 1 / ratio;
    context.strokeRect(plot.left, plot.top, plot.right - plot.left, plot.bottom - plot.top);
    context.textBaseline = "middle";
    context.textAlign = "right";
    const ticks = numberTicks(low, high, 5);
    ticks.values.forEach((value, i) => context.fillText(ticks.labels[i] ?? "", plot.left - 6, Math.max(plot.top + 5, Math.min(plot.bottom - 5, y(value)))));
    context.textBaseline = "alphabetic";
    const every = Math.max(1, Math.ceil(columns / Math.max(2, Math.floor((plot.right - plot.left) / 90))));
    for (let column = 0; column < columns; column += every) {
      context.textAlign = column ? "center" : "left";
      const step = /** @type {number} */ (data.steps[column]);
      const x = plot.left + (column ? (column + 0.5) * wide : 0);
      if (x < plot.right - 24) context.fillText(tick(step, 1), x, HEIGHT - 5);
    }
    if (chosen >= 0) {
      context.strokeStyle = color("--text");
      context.strokeRect(plot.left + chosen * wide, plot.top, wide, plot.bottom - plot.top);
    }
  };

  const say = () => {
    if (!data) return;
    if (chosen < 0) {
      const merged = data.samples.some((samples) => samples > 1);
      const lost = data.left_out.reduce((sum, n) => sum + n, 0);
      reading.textContent = `${whole(data.total)} ${data.total === 1 ? "histogram" : "histograms"}${merged ? `, merged to ${whole(data.steps.length)} columns` : ""}${lost ? `; ${whole(lost)} values were not finite` : ""}. Each column is as dark as its densest bin.`;
      return;
    }
    const [first, last] = [/** @type {number} */ (data.steps[chosen]), /** @type {number} */ (data.last_steps[chosen])];
    const counts = /** @type {number[]} */ (data.counts[chosen]);
    const edges = /** @type {number[]} */ (data.edges[chosen]);
    const sum = counts.reduce((total, n) => total + n, 0);
    const mean = sum ? counts.reduce((total, n, bin) => total + n * ((/** @type {number} */ (edges[bin]) + /** @type {number} */ (edges[bin + 1])) / 2), 0) / sum : NaN;
    reading.textContent = `${first === last ? `Step ${whole(first)}` : `Steps ${whole(first)} to ${whole(last)} (${whole(/** @type {number} */ (data.samples[chosen]))} histograms)`}: ${number(sum)} values from ${number(edges[0])} to ${number(edges.at(-1))}, mean about ${number(mean)}.`;
  };
  const choose = (/** @type {number} */ column) => {
    if (column === chosen) return;
    chosen = column;
    draw();
    say();
  };
  canvas.addEventListener("pointermove", (event) => {
    if (!data) return;
    const box = canvas.getBoundingClientRect();
    choose(columnAt(data, (event.clientX - box.left - LEFT) / (box.width - LEFT - 8)));
  });
  canvas.addEventListener("pointerleave", () => choose(-1));
  canvas.addEventListener("keydown", (event) => {
    if (!data || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.preventDefault();
    choose(Math.max(0, Math.min(data.steps.length - 1, (chosen < 0 ? data.steps.length - 1 : chosen) + (event.key === "ArrowRight" ? 1 : -1))));
  });
  const sizes = new ResizeObserver(draw);
  sizes.observe(frame);
  const endTheme = theme.subscribe(() => requestAnimationFrame(draw));
  return {
    set: (next) => {
      data = next;
      canvas.setAttribute("aria-label", `Histograms of ${key} over ${next.steps.length} columns of steps; the arrow keys read them`);
      chosen = Math.min(chosen, next.steps.length - 1);
      draw();
      say();
    },
    end: () => {
      sizes.disconnect();
      endTheme();
      canvas.width = 0;
    },
  };
}
