/** The x axes of the panels, with the zooms of those that share neither axis nor zoom with the others. */
import { view } from "../core/state.js";
import { mainX, xOfPanel } from "./axis.js";
import { chartOptions, ownFrame } from "./settings.js";

export class Axes {
  /** @param {() => import("./sections.js").KeyInfo[]} infos the metrics on the page */
  constructor(infos) {
    this.infos = infos;
    /** @type {Map<string, [number, number]>} key of a panel → its own zoom */
    this.zooms = new Map();
    this.shown = view.peek().x;
  }

  /** The x axis that panels share. */
  get main() {
    return mainX(view.peek().x, this.infos());
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
    const x = xOfPanel(view.peek().x, key, this.infos());
    return { x, shared: x === this.main };
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
