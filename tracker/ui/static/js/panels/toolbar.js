/**
 * Toolbar of the charts: search and everything that holds for all panels. What does not fit into the row moves into a menu behind "More". It changes the view and nothing else.
 */
import { h } from "../core/dom.js";
import { openPopover } from "../core/menu.js";
import { change, view } from "../core/state.js";
import { AUTO, BANDS, SLIDER_MAX, SMOOTH_KINDS, X_CHOICES, describeSmoothing, labelOfX, sliderOf, smoothAt, unitOfX } from "./axis.js";
import { action, choice, segmented, smoothing, toggle } from "./controls.js";

/**
 * @typedef {import("./controls.js").Control} Control
 *
 * @typedef {object} ToolbarContext what the toolbar is told of the charts below it
 * @property {() => string[]} stepMetrics metrics that others are defined over
 * @property {() => string} mainX the x axis that panels share
 * @property {() => boolean} zoomed whether any panel is zoomed
 * @property {() => void} resetZoom
 * @property {() => string[]} numberKeys metrics that can be an x axis
 * @property {() => string[]} configFields config fields in which the selected runs differ
 * @property {() => boolean} foldsSeeds whether runs that differ only in their seed are folded now
 * @property {() => number} span range of x of the data
 * @property {() => boolean} manyWriters whether a selected run has several writers
 */

/** Space between controls, in CSS pixels. */
const GAP = 8;
/** Maximum number of metrics offered as an x axis besides step metrics. */
const X_METRICS = 200;

export class Toolbar {
  /** @param {ToolbarContext} context */
  constructor(context) {
    this.context = context;
    this.search = h("input", {
      class: "panels-search", type: "search", placeholder: "Search metrics (m)", "aria-label": "Search metrics", autocomplete: "off", spellcheck: "false",
      title: "Words in any order, -word to leave out, /regular expression/", on: {
        input: () => change({ search: this.search.value }, { undo: false }),
        keydown: (/** @type {KeyboardEvent} */ event) => {
          if (event.key === "Escape" && this.search.value) {
            change({ search: "" }, { undo: false });
            event.stopPropagation();
          }
        },
      },
    });
    this.fitted = "";
    this.count = h("output", { class: "panels-count", "aria-live": "polite" });
    this.smooth = this.smoothControl();
    /** @type {Control[]} in the order in which they leave the row for the menu, the last first */
    this.controls = this.makeControls();
    this.menu = h("div", { class: "panels-menu" });
    this.open = false;
    this.more = h("button", { class: "control-button panels-more", type: "button", title: "More settings", "aria-haspopup": "dialog", on: { click: () => this.openMenu() } }, "More");
    this.row = h("div", { class: "panels-controls" }, ...this.controls.map((control) => control.element));
    this.element = h("div", { class: "panels-toolbar", role: "toolbar", "aria-label": "Charts" },
      h("div", { class: "panels-find" }, this.search), this.count, this.row, this.more);
    this.sizes = new ResizeObserver(() => this.fit());
    this.sizes.observe(this.element);
    this.update();
  }

  smoothControl() {
    return smoothing({
      title: "Smoothing, in units of the x axis (s)", max: SLIDER_MAX,
      position: () => sliderOf(view.value.smooth, this.context.span()),
      value: () => view.value.smooth,
      unit: () => unitOfX(this.context.mainX()),
      describe: () => describeSmoothing(view.value.smooth, view.value.smoothKind, this.context.mainX()),
      slide: (position) => change({ smooth: smoothAt(position, this.context.span()) }),
      set: (value) => change({ smooth: value }),
    });
  }

  /** @returns {Control[]} */
  makeControls() {
    return [
      choice({ label: "x", title: "x axis (x). Auto: the step metric that define_metric names, else the step", value: () => this.xValue(), set: (x) => change({ x: x === "step" && !this.context.stepMetrics().length ? AUTO : x, zoom: null }), options: () => this.xOptions() }),
      this.smooth,
      toggle({ label: "log y", title: "Logarithmic y axis (y)", value: () => view.value.logY, toggle: () => change({ logY: !view.value.logY, logPanels: [] }) }),
      choice({ label: "Group", title: "Draw runs as one line with a band (g). Auto: runs that differ only in their seed", options: () => this.groupOptions(),
        value: () => groupValue(view.value), set: (value) => change(value === "seeds" ? { group: [], seeds: true } : value === "none" ? { group: [], seeds: false } : { group: value.split("\n") }) }),
      choice({ label: "Band", title: "Band around a line", options: () => BANDS, value: () => view.value.band, set: (band) => change({ band }) }),
      segmented({ label: "Panel size", title: "Size of panels", options: [{ value: "s", label: "Small" }, { value: "m", label: "Medium" }, { value: "l", label: "Large" }],
        value: () => view.value.size, set: (size) => change({ size }) }),
      toggle({ label: "log x", title: "Logarithmic x axis", value: () => view.value.logX, toggle: () => change({ logX: !view.value.logX }) }),
      action({ label: "Reset zoom", title: "Show everything (0)", enabled: () => this.context.zoomed(), press: () => this.context.resetZoom() }),
      toggle({ label: "Follow", title: "Keep the newest points in view (l)", value: () => view.value.follow, toggle: () => change({ follow: !view.value.follow }) }),
      toggle({ label: "Linked", title: "Zoom and cursor of all panels together", value: () => view.value.linked, toggle: () => change({ linked: !view.value.linked }) }),
      toggle({ label: "Ignore outliers", title: "Outliers do not stretch the y axis; panels say what is out of view", value: () => view.value.outliers, toggle: () => change({ outliers: !view.value.outliers }) }),
      choice({ label: "Smoothing", title: "Kind of smoothing", options: () => SMOOTH_KINDS, value: () => view.value.smoothKind, set: (smoothKind) => change({ smoothKind }) }),
      toggle({ label: "Writers apart", title: "A line for each writer of a run", value: () => view.value.writers === "apart", toggle: () => change({ writers: view.value.writers === "apart" ? "together" : "apart" }) }),
      toggle({ label: "Nested sections", title: "Sections by the whole prefix, not only by its first part", value: () => view.value.nested, toggle: () => change({ nested: !view.value.nested }) }),
    ];
  }

  xValue() {
    const { x } = view.value;
    return x === AUTO && !this.context.stepMetrics().length ? "step" : x;
  }

  xOptions() {
    const metrics = [...new Set([...this.context.stepMetrics(), ...this.context.numberKeys().slice(0, X_METRICS)])];
    const automatic = this.context.stepMetrics().length ? [{ value: AUTO, label: "Auto" }] : [];
    return [...automatic, ...X_CHOICES, ...metrics.map((key) => ({ value: `metric:${key}`, label: labelOfX(`metric:${key}`), group: "Metric" }))];
  }

  groupOptions() {
    const seeds = this.context.foldsSeeds();
    return [
      { value: "seeds", label: seeds ? "Seeds" : "Auto" }, { value: "none", label: "Off" },
      ...this.context.configFields().map((field) => ({ value: field, label: field.replace(/^config\./, ""), group: "By config" })),
    ];
  }

  focusSmoothing() {
    if (!this.row.contains(this.smooth.element)) this.openMenu();
    this.smooth.focus();
  }

  focusSearch() {
    this.search.focus();
    this.search.select();
  }

  /** Show the present view. */
  update() {
    const { search } = view.value;
    if (this.search.value !== search) this.search.value = search;
    for (const control of this.controls) control.update();
    this.fit();
  }

  /**
   * @param {string} text
   * @param {string} error
   */
  setCount(text, error) {
    this.count.textContent = error || text;
    this.count.classList.toggle("bad", error !== "");
    this.search.setAttribute("aria-invalid", String(error !== ""));
  }

  /** Move what does not fit into the menu. Elements are moved, not made again, so that focus and listeners stay. */
  fit() {
    const width = this.element.clientWidth;
    if (!width || this.open) return;
    const key = `${width} ${this.controls.map((control) => control.element.textContent).join()}`;
    if (key === this.fitted) return;
    this.fitted = key;
    const all = this.controls.map((control) => control.element);
    this.row.replaceChildren(...all);
    this.more.hidden = true;
    if (this.row.clientWidth && this.row.scrollWidth <= this.row.clientWidth) {
      this.menu.replaceChildren();
      return;
    }
    this.more.hidden = false;
    // On a narrow screen the row is not displayed: everything goes into the menu.
    let room = this.row.clientWidth || -GAP - 1;
    const widths = all.map((element) => element.offsetWidth + GAP);
    const inMenu = all.filter((_, i) => {
      const fits = widths[i] <= room + GAP;
      if (fits) room -= widths[i];
      return !fits;
    });
    this.menu.replaceChildren(...inMenu);
  }

  openMenu() {
    this.open = true;
    openPopover(this.more, this.menu, { label: "Chart settings", onClose: () => {
      this.open = false;
      this.fit();
    } });
  }

  close() {
    this.sizes.disconnect();
  }
}

/** @param {import("../core/state.js").View} shown */
function groupValue(shown) {
  return shown.group.length ? shown.group.join("\n") : shown.seeds ? "seeds" : "none";
}
