/** Links the cursor and the highlighted run of all charts on the page, and the table's. */
import { highlighted } from "../core/runs.js";
import { view } from "../core/state.js";

/**
 * @typedef {object} Linked
 * @property {import("../chart/chart.js").Chart | null} chart
 * @property {string} x its x axis
 * @property {(run: string | null) => void} [highlight] in place of the chart's
 */

export class Links {
  /**
   * @param {() => Linked[]} charts those on the screen
   * @param {() => import("./groups.js").Group[]} groups
   */
  constructor(charts, groups) {
    this.charts = charts;
    this.groups = groups;
    /** @type {number | null} */
    this.x = null;
    /** @type {Linked | null} */
    this.source = null;
    this.scheduled = false;
  }

  /**
   * The pointer is at `x` in one chart.
   * @param {Linked} source
   * @param {number | null} x
   */
  setCursor(source, x) {
    if (this.x === x && this.source === source) return;
    this.x = x;
    this.source = source;
    if (this.scheduled || !view.peek().linked) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      const axis = this.source?.x;
      for (const one of this.charts()) if (one !== this.source) one.chart?.setCursor(one.x === axis ? this.x : null);
    });
  }

  /** @param {string | null} run */
  setHighlight(run) {
    highlighted.value = run;
  }

  /** Raise the highlighted run in every chart: its line, or that of its group. */
  show() {
    const run = highlighted.peek();
    const group = run === null ? undefined : this.groups().find((one) => one.id === run || one.runs.includes(run));
    const line = group ? group.id : null;
    for (const one of this.charts()) {
      if (one.highlight) one.highlight(line);
      else one.chart?.highlight(line);
    }
  }
}
