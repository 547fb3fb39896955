/** Full screen: one metric in a large chart, with the values of all runs at the cursor and, on request, as a table. */
import { Chart } from "../chart/chart.js";
import { h, replace } from "../core/dom.js";
import { exact, number } from "../core/format.js";
import { typing } from "../core/keys.js";
import { change, redo, undo, view } from "../core/state.js";
import { bucketCount, describePoints, describeSmoothing, labelOfX, nextX } from "./axis.js";
import { openDownloads } from "./downloads.js";
import { icon, lineSample } from "../core/icons.js";
import { openLineMenu } from "./linemenu.js";
import { countPoints, makeLines, valueAt } from "./lines.js";
import { toggled } from "./settings.js";

/** Id under which the loader knows the full screen's panel. */
const ID = "full";

export class FullScreen {
  /** @param {import("./page.js").ChartsPage} page */
  constructor(page) {
    this.page = page;
    this.key = "";
    this.asTable = false;
    /** @type {HTMLDialogElement | null} */
    this.dialog = null;
    /** @type {Chart | null} */
    this.chart = null;
    /** @type {import("./loader.js").Answer | null} */
    this.answer = null;
    /** @type {import("../chart/series.js").Line[]} */
    this.lines = [];
    this.cursor = /** @type {number | null} */ (null);
    this.heading = h("h2", { class: "full-title" });
    this.plot = h("div", { class: "full-plot" });
    this.legend = h("div", { class: "full-legend" });
    this.table = h("div", { class: "full-table", hidden: true, tabindex: "0" });
    this.foot = h("p", { class: "full-foot" });
    this.tableButton = tool("table", "Show as table (T)", () => this.toggleTable());
    this.logButton = tool("log", "Logarithmic y axis (y)", () => this.press("y"));
  }

  /**
   * Open, close or change the metric as the view says.
   * @param {boolean} redraw
   * @param {boolean} restyle
   */
  update(redraw, restyle) {
    const full = this.page.visible ? view.peek().full : "";
    if (full && !this.dialog) this.open();
    else if (!full && this.dialog) this.close();
    if (!full) return;
    if (full !== this.key) {
      this.key = full;
      this.chart?.release();
      this.chart = null;
      this.answer = null;
      this.heading.textContent = full;
      this.heading.title = full;
      this.plot.classList.add("loading");
      replace(this.plot);
    }
    const own = this.page.axes.frame(this.key);
    this.page.loader.want(ID, { key: this.key, runs: this.page.drawn, count: bucketCount(this.plot.clientWidth), near: true, own });
    if (redraw) this.draw();
    else if (restyle) this.chart?.setOptions(this.page.axes.options(this.key));
  }

  get x() {
    return this.page.axes.of(this.key).x;
  }

  open() {
    this.dialog = h("dialog", { class: "full", "aria-label": "Chart in full screen", on: { keydown: (/** @type {KeyboardEvent} */ event) => this.keydown(event) } },
      h("header", { class: "full-head" },
        tool("previous", "Previous metric (←)", () => this.go(-1)), tool("next", "Next metric (→)", () => this.go(1)), this.heading,
        tool("reset", "Reset zoom (0)", () => this.press("0")), this.logButton, this.tableButton,
        tool("download", "Download (e)", (event) => this.chart && openDownloads(event.currentTarget, { key: this.key, chart: this.chart, runs: this.page.drawn })),
        tool("close", "Close (Esc)", () => change({ full: "" }))),
      h("div", { class: "full-body" }, this.plot, this.table, this.legend), this.foot);
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      change({ full: "" });
    });
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.dialog.focus();
  }

  close() {
    this.page.loader.drop(ID);
    this.chart?.release();
    this.chart = null;
    this.dialog?.close();
    this.dialog?.remove();
    this.dialog = null;
    this.answer = null;
    this.key = "";
  }

  /**
   * @param {string} id
   * @param {import("./loader.js").Answer} answer
   */
  deliver(id, answer) {
    if (id !== ID || !this.dialog) return;
    if (answer.pending && answer.pending === this.page.drawn.length && this.chart) return;
    this.answer = answer;
    this.draw();
  }

  draw() {
    const { answer } = this;
    if (!answer || !this.dialog) return;
    if (!answer.series.length) {
      if (answer.pending && !answer.failure) return;
      this.plot.classList.remove("loading");
      replace(this.plot, h("p", { class: "panel-message" }, answer.failure || "None of the selected runs logged this metric."));
      return;
    }
    this.plot.classList.remove("loading");
    if (!this.chart) {
      replace(this.plot);
      this.chart = new Chart(this.plot, {
        onHover: (run, x) => {
          this.cursor = x;
          this.page.links.setHighlight(run);
          this.showValues();
        },
        onMenu: (id, point) => openLineMenu(id, point, this.page.grouping.groups, this.page.fixed === null),
        href: (id) => this.page.hrefOf(id),
        onZoom: (range, { axis }) => this.page.zoom(this.key, axis === "x" ? { x: range } : { y: range }),
      });
    }
    this.lines = makeLines(answer.series, this.page.lineContext(this.key));
    this.chart.setOptions(this.page.axes.options(this.key));
    this.chart.setData(this.lines);
    const { points, inRange, raw, nan } = countPoints(answer.series, this.chart.options.xRange);
    const { smooth, smoothKind } = view.peek();
    const { x, shared } = this.page.axes.of(this.key);
    this.foot.textContent = [
      describePoints(points, raw, inRange), nan ? `${exact(nan)} ${raw ? "NaN" : "not finite"}` : "", `x: ${labelOfX(x).toLowerCase()}`, smooth > 0 ? (shared ? `smoothing: ${describeSmoothing(smooth, smoothKind, x)}` : "not smoothed: the half-life is in units of another x axis") : "",
    ].filter(Boolean).join(" · ");
    this.showLegend();
    if (this.asTable) this.showTable();
  }

  showLegend() {
    const rows = this.lines.map((line) => h("button", {
      class: "legend-row", type: "button", title: line.label, data: { run: line.run },
      on: { pointerenter: () => this.page.links.setHighlight(line.run), pointerleave: () => this.page.links.setHighlight(null), focus: () => this.page.links.setHighlight(line.run) },
    }, lineSample(line), h("span", { class: "legend-name" }, line.label), h("span", { class: "legend-value" })));
    replace(this.legend, h("div", { class: "legend-head" }), ...rows);
    this.showValues();
  }

  /** Values of all lines at the cursor; the last ones where there is none. */
  showValues() {
    const head = this.legend.firstElementChild;
    if (!head) return;
    head.textContent = this.cursor === null ? "Last value" : `At ${labelOfX(this.x).toLowerCase()} ${number(this.cursor)}`;
    this.lines.forEach((line, i) => {
      const value = valueAt(line.series, this.cursor);
      const node = this.legend.children[i + 1]?.lastElementChild;
      if (node) node.textContent = value === null ? "" : number(value);
    });
  }

  /** @param {string | null} run */
  highlight(run) {
    this.chart?.highlight(run);
    if (this.dialog) for (const row of this.legend.children) row.classList.toggle("raised", run !== null && /** @type {HTMLElement} */ (row).dataset.run === run);
  }

  toggleTable() {
    this.asTable = !this.asTable;
    this.tableButton.setAttribute("aria-pressed", String(this.asTable));
    this.plot.hidden = this.asTable;
    this.table.hidden = !this.asTable;
    if (this.asTable) this.showTable();
    else this.chart?.resize();
  }

  showTable() {
    if (!this.chart) return;
    const { columns, rows } = this.chart.tableRows();
    replace(this.table, h("table", null, h("caption", { class: "sr" }, this.key), h("thead", null, h("tr", null, columns.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", null, rows.map((row) => h("tr", null, row.map((cell) => h("td", null, cell)))))));
  }

  /**
   * The next or previous metric on the page.
   * @param {number} delta
   */
  go(delta) {
    const keys = [...new Set(this.page.sections.flatMap((section) => section.keys))];
    if (keys.length) change({ full: keys[(keys.indexOf(this.key) + delta + keys.length) % keys.length] }, { replace: true });
  }

  /** @param {KeyboardEvent} event */
  keydown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const onChart = this.chart?.element.contains(/** @type {Node} */ (event.target)) && event.shiftKey;
    if (onChart || !this.press(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
  }

  /**
   * @param {string} key
   * @returns {boolean} whether it does something
   */
  press(key) {
    const shown = view.peek();
    /** @type {Record<string, () => unknown>} */
    const actions = {
      ArrowLeft: () => this.go(-1), ArrowRight: () => this.go(1), f: () => change({ full: "" }), y: () => change({ logPanels: toggled(shown.logPanels, this.key) }),
      x: () => change({ x: nextX(shown.x, this.page.stepMetrics()), zoom: null }), 0: () => this.page.resetZoom(this.key), z: undo, Z: redo, T: () => this.toggleTable(),
      l: () => change({ follow: !shown.follow }), p: () => change({ pins: toggled(shown.pins, this.key) }),
    };
    actions[key]?.();
    return key in actions;
  }
}

/**
 * @param {string} name
 * @param {string} label
 * @param {(event: any) => void} click
 */
function tool(name, label, click) {
  return h("button", { class: "panel-tool", type: "button", title: label, "aria-label": label.replace(/ \(.*\)$/, ""), on: { click } }, icon(name));
}
