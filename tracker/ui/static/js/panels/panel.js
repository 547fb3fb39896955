/**
 * One panel of the grid: title, tools, chart, the line about its points. The page tells it what to show; it tells the page what was done with it.
 */
import { Chart } from "../chart/chart.js";
import { h } from "../core/dom.js";
import { exact, keyText, plural } from "../core/format.js";
import { describePoints } from "./axis.js";
import { icon, lineSample } from "../core/icons.js";
import { countPoints, makeLines } from "./lines.js";

/**
 * @typedef {import("./loader.js").Answer} Answer
 * @typedef {import("./lines.js").LineContext} LineContext
 * @typedef {import("../chart/series.js").Line} Line
 *
 * @typedef {object} PanelContext what the page offers to its panels
 * @property {(key: string) => LineContext} lines
 * @property {(key: string) => {x: string, shared: boolean}} axis
 * @property {(key: string) => import("../chart/picture.js").Options} options
 * @property {(panel: Panel) => void} mounted the panel wants data, or other data
 * @property {(panel: Panel) => void} unmounted
 * @property {(panel: Panel, x: number | null) => void} cursor
 * @property {(run: string | null) => void} highlight
 * @property {(id: string) => string} href address of a line's run; empty for none
 * @property {(id: string, point: {x: number, y: number}) => void} menu open the menu of a line
 * @property {(panel: Panel, range: {x?: [number, number] | null, y?: [number, number] | null}) => void} zoom
 * @property {(panel: Panel, tool: string, button: HTMLElement) => void} tool
 * @property {(panel: Panel, from: string) => void} dropped another panel was dropped on this one
 * @property {(panel: Panel | null) => void} current the panel under the pointer or with the focus
 * @property {() => number} runCount number of selected runs
 * @property {(panel: Panel) => {zoomed: boolean, log: boolean, pinned: boolean}} state
 * @property {() => boolean} legend whether lines are named in the panel, because no table beside it does
 * @property {() => void} retry
 */

/** Tools in the order of their buttons: id, label. */
const TOOLS = [["reset", "Reset zoom (0)"], ["log", "Logarithmic y axis (y)"], ["pin", "Pin on top (p)"], ["download", "Download (e)"], ["full", "Full screen (f)"]];

/** Maximum number of lines that are named below a chart. */
const MOST_NAMED = 8;
/** Placeholder for the parts of a panel that is not built yet. */
const PLACEHOLDER = h("div");

export class Panel {
  /**
   * @param {string} id
   * @param {string} section
   * @param {string} key
   * @param {string} title
   * @param {PanelContext} context
   */
  constructor(id, section, key, title, context) {
    this.id = id;
    this.section = section;
    this.key = key;
    this.title = title;
    this.context = context;
    this.near = false;
    /** @type {Chart | null} */
    this.chart = null;
    /** @type {Answer | null} */
    this.answer = null;
    /** @type {Line[]} */
    this.lines = [];
    this.built = false;
    this.plot = PLACEHOLDER;
    this.foot = PLACEHOLDER;
    this.tools = PLACEHOLDER;
    this.handle = h("h3", { class: "panel-title" }, ...titleParts(keyText(title)));
    this.element = h("article", { class: "panel", "aria-label": key }, this.handle);
  }

  /** Make what a placeholder does not need: there may be thousands of them. */
  build() {
    this.built = true;
    const { context, section, key } = this;
    this.plot = h("div", { class: "panel-plot" });
    this.foot = h("div", { class: "panel-foot" });
    this.tools = h("div", { class: "panel-tools" });
    this.handle.title = key;
    this.handle.draggable = true;
    this.element.replaceChildren(h("header", { class: "panel-head" }, this.handle, this.tools), this.plot, this.foot);
    const { element } = this;
    element.addEventListener("pointerenter", () => context.current(this));
    element.addEventListener("focusin", () => context.current(this));
    element.addEventListener("dragstart", (event) => event.dataTransfer?.setData("text/x-tracker-panel", `${section}\n${key}`));
    element.addEventListener("dragover", (event) => this.dragOver(event));
    element.addEventListener("dragleave", () => element.classList.remove("drop"));
    element.addEventListener("drop", (event) => this.drop(event));
  }

  /** @param {boolean} near */
  mount(near) {
    this.near = near;
    if (!this.built) this.build();
    if (!this.tools.firstChild) this.addTools();
    if (!this.chart && !this.plot.firstChild) this.plot.classList.add("loading");
    this.context.mounted(this);
  }

  unmount() {
    if (!this.built) return;
    this.release();
    this.answer = null;
    this.lines = [];
    this.tools.replaceChildren();
    this.context.unmounted(this);
  }

  release() {
    this.chart?.release();
    this.chart = null;
    this.plot.replaceChildren();
    this.plot.classList.remove("loading");
  }

  addTools() {
    this.tools.append(...TOOLS.map(([tool, label]) => {
      const button = h("button", { class: "panel-tool", type: "button", title: label, "aria-label": `${label.replace(/ \(.\)$/, "")}: ${this.key}`, data: { tool },
        on: { click: () => this.context.tool(this, tool, button) } }, icon(tool));
      return button;
    }));
  }

  /** The x axis: only charts with the same one have a common cursor. */
  get x() {
    return this.context.axis(this.key).x;
  }

  /** Plot width in CSS pixels. */
  get width() {
    return this.plot.clientWidth;
  }

  /** @param {Answer} answer */
  setAnswer(answer) {
    this.answer = answer;
    this.draw();
  }

  /** Show the present answer with the present settings of the view. */
  draw() {
    const { answer } = this;
    if (!answer) return;
    if (!answer.series.length) {
      this.lines = [];
      this.showEmpty(answer);
      return;
    }
    const counted = countPoints(answer.series, this.context.options(this.key).xRange);
    this.plot.classList.remove("loading");
    if (!this.chart) {
      this.plot.replaceChildren();
      this.chart = new Chart(this.plot, {
        title: this.key,
        onHover: (run, x) => {
          this.context.cursor(this, x);
          this.context.highlight(run);
        },
        onMenu: (id, point) => this.context.menu(id, point),
        href: (id) => this.context.href(id),
        onZoom: (range, { axis }) => this.context.zoom(this, axis === "x" ? { x: range } : { y: range }),
      });
    }
    this.lines = makeLines(answer.series, this.context.lines(this.key));
    this.chart.setOptions(this.context.options(this.key));
    this.chart.setData(this.lines);
    this.describe(answer, counted);
    this.showState();
  }

  /** Show changed settings of the view without new data. */
  applyOptions() {
    this.chart?.setOptions(this.context.options(this.key));
    this.showState();
  }

  showState() {
    const state = this.context.state(this);
    for (const button of /** @type {Iterable<HTMLElement>} */ (this.tools.children)) {
      const { tool } = button.dataset;
      if (tool === "reset") button.hidden = !state.zoomed;
      else if (tool === "log") button.setAttribute("aria-pressed", String(state.log));
      else if (tool === "pin") button.setAttribute("aria-pressed", String(state.pinned));
    }
    this.element.classList.toggle("pinned", state.pinned);
  }

  /**
   * @param {Answer} answer
   * @param {ReturnType<typeof countPoints>} counted
   */
  describe(answer, counted) {
    const total = this.context.runCount(), present = new Set(answer.series.map((one) => one.run)).size + answer.pending;
    const left = [describePoints(counted.points, counted.raw, counted.inRange), total > 1 && present < total ? `${present} of ${plural(total, "run")}` : ""].filter(Boolean).join(" · ");
    const marks = [];
    if (!counted.finite && counted.inRange !== 0) marks.push(counted.infinite ? "only NaN and infinite values" : "only NaN");
    else if (counted.nan || counted.infinite) {
      if (counted.nan) marks.push(`${exact(counted.nan)} ${counted.raw ? "NaN" : "not finite"}`);
      if (counted.infinite) marks.push(`${exact(counted.infinite)} ±Inf`);
    }
    if (answer.errors.length) marks.push(`${plural(answer.errors.length, "run")} could not be read`);
    else if (answer.failure) marks.push("could not be updated");
    const named = this.context.legend() && this.lines.length > 1 && this.lines.length <= MOST_NAMED;
    this.foot.replaceChildren(
      named ? h("span", { class: "panel-legend", title: left }, ...this.lines.map((line) => h("span", { class: "panel-line", title: line.label }, lineSample(line), line.label.replace(/^.* · /, ""))))
        : h("span", { class: "panel-points", title: left }, left),
      ...(marks.length ? [h("span", { class: "panel-marks", title: answer.errors.map((error) => error.message).concat(answer.failure || []).join("\n") || marks.join(" · ") }, marks.join(" · "))] : []),
    );
  }

  /** @param {Answer} answer */
  showEmpty(answer) {
    if (answer.pending && !answer.failure) {
      if (!this.chart) this.plot.classList.add("loading");
      return;
    }
    this.chart?.release();
    this.chart = null;
    this.plot.classList.remove("loading");
    this.foot.replaceChildren();
    if (answer.failure) {
      this.plot.replaceChildren(h("div", { class: "panel-message" }, h("p", null, `Could not be loaded: ${answer.failure}`),
        h("button", { type: "button", on: { click: () => this.context.retry() } }, "Try again")));
    } else if (answer.errors.length) {
      this.plot.replaceChildren(h("div", { class: "panel-message" }, h("p", null, answer.errors[0].message)));
    } else {
      const zoomed = this.context.state(this).zoomed;
      this.plot.replaceChildren(h("div", { class: "panel-message" }, h("p", null, zoomed ? "No points in this range." : "None of the selected runs logged this metric.")));
    }
  }

  /** @param {DragEvent} event */
  dragOver(event) {
    if (!event.dataTransfer?.types.includes("text/x-tracker-panel")) return;
    event.preventDefault();
    this.element.classList.add("drop");
  }

  /** @param {DragEvent} event */
  drop(event) {
    this.element.classList.remove("drop");
    const [section, key] = (event.dataTransfer?.getData("text/x-tracker-panel") ?? "").split("\n");
    if (key === undefined || section !== this.section || key === this.key) return;
    event.preventDefault();
    this.context.dropped(this, key);
  }
}

/** Length of the end of a title that is always shown. */
const TAIL = 14;

/**
 * A title as two spans: the first is cut where there is no room, the end is not, because that is where names differ.
 * @param {string} title
 * @returns {(string | HTMLElement)[]}
 */
export function titleParts(title) {
  if (title.length <= TAIL) return [title];
  return [h("span", { class: "title-head" }, title.slice(0, -TAIL)), h("span", { class: "title-tail" }, title.slice(-TAIL))];
}
