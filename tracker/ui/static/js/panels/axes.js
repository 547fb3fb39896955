/** The x axes of the panels, with the zooms of those that share neither axis nor zoom with the others. */
import { view } from "../core/state.js";
import { AUTO, mainX, xOfMetric } from "./axis.js";
import { chartOptions, ownFrame } from "./settings.js";

export class Axes {
  /** @param {() => import("./sections.js").KeyInfo[]} infos the metrics on the page */
  constructor(infos) {
    this.infos = infos;
    /** @type {Map<string, [number, number]>} key of a panel → its own zoom */
    this.zooms = new Map();
    this.shown = view.peek().x;
    /** Axes of these metrics, so that thousands of panels do not search them. */
    this.known = { infos: /** @type {import("./sections.js").KeyInfo[]} */ ([]), x: "", main: "step", axes: /** @type {Map<string, string>} */ (new Map()) };
  }

  /** The x axis that panels share. */
  get main() {
    return this.resolved().main;
  }

  resolved() {
    const infos = this.infos(), { x } = view.peek();
    if (infos !== this.known.infos || x !== this.known.x) {
      this.known = { infos, x, main: mainX(x, infos), axes: new Map(x === AUTO ? infos.map((one) => [one.key, xOfMetric(one)]) : []) };
    }
    return this.known;
  }

  /**
   * Drop zooms of another axis.
   * @returns {boolean} whether the axis changed
   */
  update() {
    if (view.peek().x === this.shown) return false;
    this.shown = view.peek().x;
    this.zooms.clear();
    return true;
  }

  /**
   * A panel's x axis, and whether it is the one that panels share.
   * @param {string} key
   */
  of(key) {
    const { x: chosen, main, axes } = this.resolved();
    const x = chosen === AUTO ? axes.get(key) ?? "step" : chosen;
    return { x, shared: x === main };
  }

  /** @param {string} key */
  options(key) {
    return chartOptions(view.peek(), key, this.zooms.get(key), this.of(key));
  }

  /** @param {string} key */
  frame(key) {
    return ownFrame(view.peek(), this.zooms.get(key), this.of(key));
  }

  /**
   * Whether a panel is zoomed; without a key, whether any is.
   * @param {string} [key]
   */
  zoomed(key) {
    const { zoom, linked, yZoom } = view.peek();
    if (key === undefined) return zoom !== null || this.zooms.size > 0 || Object.keys(yZoom).length > 0;
    return (linked && this.of(key).shared ? zoom !== null : this.zooms.has(key)) || key in yZoom;
  }
}
