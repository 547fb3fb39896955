/**
 * The charts of the selected runs: toolbar, sections, panels. Connects the view, the runs and the loader to the panels; the parts do not know each other.
 */
import { h, replace } from "../core/dom.js";
import { panelKind } from "../core/registry.js";
import { changed, columnInfos, highlighted, leftOut, runAt, runs as runTable, selection } from "../core/runs.js";
import { colorOf, palette } from "../core/colors.js";
import { api, connection } from "../core/api.js";
import { isGroup } from "../core/groupkey.js";
import { change, serialize, view } from "../core/state.js";
import { whenVisible } from "../core/visible.js";
import { Axes } from "./axes.js";
import { bucketCount } from "./axis.js";
import { followZoom } from "./follow.js";
import { FullScreen } from "./full.js";
import { Grid, panelId } from "./grid.js";
import { Grouping } from "./grouping.js";
import { bindKeys } from "./keys.js";
import { KindPanel } from "./kindpanel.js";
import { registerKinds } from "./kinds.js";
import { openLineMenu } from "./linemenu.js";
import { Links } from "./links.js";
import { Loader } from "./loader.js";
import { Metrics } from "./metrics.js";
import { Notice } from "./notice.js";
import { Panel } from "./panel.js";
import { describeCount, parseSearch } from "./search.js";
import { PINNED, groupKeys, moveBefore, splitKey } from "./sections.js";
import { frameOf, isLog, toggled } from "./settings.js";
import { openDownloads } from "./downloads.js";
import { Toolbar } from "./toolbar.js";

/** Maximum number of runs drawn in a panel; the page says when there are more. */
export const MAX_DRAWN = 200;
/** Time after the last zoom before finer data is requested, in seconds. */
const ZOOM_DELAY = 0.08;

registerKinds();

/**
 * Show charts in `node`.
 * @param {HTMLElement} node
 * @param {{runs?: string[]}} [options] `runs`: these instead of the selected ones
 * @returns {() => void} ends it
 */
export function mountCharts(node, { runs } = {}) {
  const page = new ChartsPage(node, runs ?? null);
  return () => page.close();
}

export class ChartsPage {
  /**
   * @param {HTMLElement} node
   * @param {string[] | null} fixed
   */
  constructor(node, fixed) {
    this.fixed = fixed;
    this.metrics = new Metrics();
    this.loader = new Loader({
      fetch: (request, options) => api.seriesAnswer(request, options),
      deliver: (id, answer) => this.deliver(id, answer),
      schedule: (fn) => void requestAnimationFrame(fn),
      later: (fn, seconds) => void setTimeout(() => whenVisible(fn), seconds * 1000),
    });
    /** @type {string[]} */
    this.drawn = [];
    this.grouping = new Grouping();
    this.axes = new Axes(() => this.metrics.keys.peek());
    /** @type {import("./panel.js").Panel | null} panel under the pointer or with the focus */
    this.current = null;
    /** @type {[number, number] | null} range of x of all that was delivered */
    this.range = null;
    this.shownOptions = this.shownLines = this.shownSections = "";
    this.scheduled = false;
    /** @type {import("./sections.js").Section[]} */
    this.sections = [];
    this.nested = view.peek().nested;
    /** Whether runs changed while the charts were hidden. */
    this.missed = false;
    /** Number of metrics that match the search. */
    this.found = 0;
    this.fresh = /** @type {Set<Panel>} panels mounted just now */ (new Set());
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.resizing = undefined;
    /** @type {import("./panel.js").PanelContext | undefined} */
    this.context = undefined;
    this.grid = new Grid({ makePanel: (section, key) => this.makePanel(section, key), toggleSection: (section) => change({ folded: toggled(view.peek().folded, section) }) });
    this.toolbar = new Toolbar({
      stepMetrics: () => this.stepMetrics(), numberKeys: () => this.metrics.keys.peek().filter((one) => one.kind === "number" || !one.kind).map((one) => one.key),
      mainX: () => this.axes.main, zoomed: () => this.axes.zoomed(), resetZoom: () => this.resetZoom(), configFields: () => this.grouping.fields, foldsSeeds: () => this.grouping.foldsSeeds, span: () => (this.range ? this.range[1] - this.range[0] : 1000),
      manyWriters: () => true,
    });
    this.notice = new Notice();
    this.scroll = h("div", { class: "panels-scroll" }, this.notice.element, this.grid.element);
    this.element = h("div", { class: "panels-page" }, this.toolbar.element, this.scroll);
    replace(node, this.element);
    this.full = new FullScreen(this);
    this.links = new Links(() => [...this.mountedPanels(), this.full], () => this.grouping.groups);
    this.narrow = matchMedia("(max-width: 700px)");
    this.observeScroll = () => this.grid.observe(this.narrow.matches ? null : this.scroll);
    this.observeScroll();
    this.narrow.addEventListener("change", this.observeScroll);
    this.sizes = new ResizeObserver(() => this.resized());
    this.sizes.observe(this.scroll);
    const wake = () => this.wake();
    this.ends = [
      ...[view, selection, runTable, palette, columnInfos, this.metrics.keys, this.metrics.loading, this.metrics.error].map((one) => one.subscribe(wake)),
      changed.subscribe((refs) => this.runsChanged(refs)),
      highlighted.subscribe(() => this.links.show()),
      connection.subscribe(({ ok }) => ok && this.loader.failure && this.loader.retry()),
      bindKeys(this),
    ];
    this.update();
  }

  close() {
    for (const end of this.ends) end();
    this.narrow.removeEventListener("change", this.observeScroll);
    this.sizes.disconnect();
    this.full.close();
    this.toolbar.close();
    this.grid.close();
    this.metrics.close();
    this.loader.close();
    this.element.remove();
  }

  wake() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      if (this.visible) this.update();
    });
  }

  /** Whether the charts are on the page that is shown; another page of the dashboard may hide them. */
  get visible() {
    return this.element.isConnected && this.element.checkVisibility();
  }

  /** Bring everything in line with the view and the runs; what does not differ is left alone. */
  update() {
    // Until all runs are read, it is not known which are the first, and drawing delays the reading.
    const early = runTable.value.partial && !view.value.chosen && !this.fixed;
    const chosen = this.fixed ?? (early ? [] : selection.value);
    const drawn = chosen.length > MAX_DRAWN ? chosen.slice(0, MAX_DRAWN) : chosen;
    if (drawn.length !== this.drawn.length || drawn.some((ref, i) => ref !== this.drawn[i])) {
      this.drawn = drawn;
      this.range = null;
    }
    this.metrics.select(this.drawn);
    this.grouping.update(this.drawn);
    const folded = ["smooth", "smoothKind", "logX", "band"].map((name) => /** @type {any} */ (view.value)[name]);
    // Lines of a group are made again where these differ; others are only drawn again, which the options say.
    const lines = JSON.stringify([this.grouping.groups, this.grouping.groups.map((group) => colorOf(group.id)), this.drawn.map((ref) => runAt(ref)?.name), folded]);
    if (this.axes.update()) this.range = null;
    const options = JSON.stringify([this.axes.main, ["x", "logX", "logY", "logPanels", "smooth", "smoothKind", "band", "outliers", "zoom", "yZoom", "linked", "writers", "pins"].map((name) => /** @type {any} */ (view.value)[name]), [...this.axes.zooms]]);
    const zoomed = this.shownOptions !== "" && options !== this.shownOptions;
    this.loader.setFrame(frameOf(view.value, this.axes.main), zoomed ? ZOOM_DELAY : 0);
    if (this.element.dataset.size !== view.value.size) {
      this.element.dataset.size = view.value.size;
      this.grid.layOut();
      this.resized();
    }
    this.updateSections();
    const redraw = lines !== this.shownLines, restyle = options !== this.shownOptions;
    this.shownLines = lines;
    this.shownOptions = options;
    for (const panel of this.mountedPanels()) {
      this.want(panel);
      if (redraw) panel.draw();
      else if (restyle) panel.applyOptions();
    }
    for (const panel of this.grid.mounted) if (panel instanceof KindPanel) panel.draw();
    this.full.update(redraw, restyle);
    this.toolbar.update();
    this.notice.show({
      early, filtered: early || this.fixed ? "" : leftOut(), chosen: chosen.length, drawn: this.drawn.length, runs: runTable.value.refs.length, loading: this.metrics.loading.value || !runTable.value.loaded,
      error: this.metrics.error.value, metrics: this.metrics.keys.value.length, found: this.found, search: view.value.search,
    });
    this.links.show();
  }

  updateSections() {
    const { search, pins, order, folded, nested } = view.value;
    const keys = this.metrics.keys.value.filter((one) => !one.kind || one.kind === "number" || panelKind(one.kind));
    const text = JSON.stringify([search, pins, order, folded, nested, keys.map((one) => [one.key, one.kind])]);
    if (text === this.shownSections) return;
    this.shownSections = text;
    if (nested !== this.nested) {
      // Titles differ: all panels are made again.
      this.nested = nested;
      this.grid.show([]);
      this.grid.forget();
    }
    const matcher = parseSearch(search);
    const names = keys.map((one) => one.key);
    const found = names.filter(matcher.test);
    const absent = pins.filter((key) => !names.includes(key));
    this.sections = groupKeys([...found, ...absent], { pins, order, folded: search && !matcher.error ? [] : folded, nested }).map((section) => section.id === PINNED ? section : { ...section, keys: section.keys.filter((key) => !absent.includes(key)) }).filter((section) => section.keys.length);
    this.grid.show(this.sections);
    this.toolbar.setCount(names.length ? describeCount(found.length, names.length) : "", matcher.error);
    this.found = found.length;
  }

  /** @returns {Panel[]} */
  mountedPanels() {
    return /** @type {Panel[]} */ ([...this.grid.mounted].filter((panel) => panel instanceof Panel));
  }

  /**
   * @param {string} section
   * @param {string} key
   */
  makePanel(section, key) {
    const id = panelId(section, key);
    const title = section === PINNED ? key : splitKey(key, view.peek().nested).title;
    const kind = this.metrics.keys.peek().find((one) => one.key === key)?.kind;
    if (kind && kind !== "number" && panelKind(kind)) return new KindPanel(id, section, key, title, kind, () => this.drawn);
    return new Panel(id, section, key, title, this.panelContext());
  }

  /** @returns {import("./panel.js").PanelContext} */
  panelContext() {
    this.context ??= {
      lines: (key) => this.lineContext(key),
      options: (key) => this.axes.options(key),
      axis: (key) => this.axes.of(key),
      mounted: (panel) => this.mounted(panel),
      unmounted: (panel) => this.loader.drop(panel.id),
      cursor: (panel, x) => this.links.setCursor(panel, x),
      highlight: (run) => this.links.setHighlight(run),
      href: (id) => this.hrefOf(id),
      menu: (id, point) => openLineMenu(id, point, this.grouping.groups, this.fixed === null),
      zoom: (panel, range) => this.zoom(panel.key, range),
      tool: (panel, tool, button) => this.tool(panel, tool, button),
      dropped: (panel, from) => this.move(from, panel.key),
      current: (panel) => (this.current = panel ?? this.current),
      runCount: () => this.drawn.length,
      legend: () => this.fixed !== null,
      state: (panel) => this.stateOf(panel.key),
      retry: () => this.loader.retry(),
    };
    return this.context;
  }

  /**
   * The address of a run's page; of the page of a run itself, and of a group, none.
   * @param {string} id
   */
  hrefOf(id) {
    return this.fixed || isGroup(id) ? "" : serialize({ ...view.peek(), page: "run", ref: id, tab: "", full: "" });
  }

  /** @param {string} key */
  lineContext(key) {
    const { band, logX, smoothKind, writers } = view.peek();
    const smooth = this.axes.of(key).shared ? view.peek().smooth : 0;
    return { groups: this.grouping.groups, colorOf, nameOf: (/** @type {string} */ ref) => runAt(ref)?.name ?? ref, apart: writers === "apart", band, logX, smooth, smoothKind };
  }

  /** @param {string} key */
  stateOf(key) {
    const { pins } = view.peek();
    return { zoomed: this.axes.zoomed(key), log: isLog(view.peek(), key), pinned: pins.includes(key) };
  }

  /** @param {Panel} panel its data is asked for once its neighbours are mounted, too: to measure each in between lays out the page each time */
  mounted(panel) {
    if (!this.fresh.size) queueMicrotask(() => this.wantFresh());
    this.fresh.add(panel);
  }

  wantFresh() {
    for (const panel of this.fresh) if (this.grid.mounted.has(panel) || this.grid.onScreen.has(panel)) this.want(panel);
    this.fresh.clear();
  }

  /** @param {Panel} panel */
  want(panel) {
    const own = this.axes.frame(panel.key);
    this.loader.want(panel.id, { key: panel.key, runs: this.drawn, count: bucketCount(panel.width), near: panel.near, own });
  }

  /**
   * @param {string} id
   * @param {import("./loader.js").Answer} answer
   */
  deliver(id, answer) {
    const panel = this.grid.panels.get(id);
    const shared = this.axes.of(panel instanceof Panel ? panel.key : this.full.key).shared;
    for (const one of shared ? answer.series : []) {
      const count = one.x0.length;
      if (!count) continue;
      const low = one.x0[0], high = one.x1[count - 1];
      if (!this.range) this.range = [low, high];
      else if (low < this.range[0] || high > this.range[1]) this.range = [Math.min(low, this.range[0]), Math.max(high, this.range[1])];
    }
    // While finer data of another range is on its way, the old picture stays; the chart scales it.
    if (panel instanceof Panel && !(answer.pending === this.drawn.length && panel.chart && !answer.failure)) panel.setAnswer(answer);
    this.full.deliver(id, answer);
  }

  /** @param {Set<string>} refs */
  runsChanged(refs) {
    if (!this.visible) {
      this.missed = true;
      return;
    }
    const shown = this.drawn.filter((ref) => refs.has(ref));
    if (!shown.length) return;
    this.loader.refresh(shown);
    this.metrics.changed();
    const next = followZoom({ ...view.peek(), x: this.axes.main }, this.drawn);
    if (next) change({ zoom: next }, { undo: false, replace: true });
  }

  /** @param {string} key */
  openFull(key) {
    if (key) change({ full: key });
  }

  /**
   * @param {string} key
   * @param {{x?: [number, number] | null, y?: [number, number] | null}} range null: everything; left out: as it was
   */
  zoom(key, range) {
    const { linked, yZoom } = view.peek();
    /** @type {Partial<import("../core/state.js").View>} */
    const patch = {};
    if (range.y !== undefined) {
      const { [key]: former, ...others } = yZoom;
      patch.yZoom = range.y ? { ...others, [key]: range.y } : others;
    }
    if (range.x !== undefined) {
      if (linked && this.axes.of(key).shared) patch.zoom = range.x;
      else if (range.x) this.axes.zooms.set(key, range.x);
      else this.axes.zooms.delete(key);
    }
    change(patch);
    this.wake();
  }

  /** @param {string} [key] reset this panel only; all, if left out */
  resetZoom(key) {
    if (key !== undefined) {
      this.zoom(key, { x: null, y: null });
      return;
    }
    this.axes.zooms.clear();
    change({ zoom: null, yZoom: {} });
    this.wake();
  }

  /**
   * @param {Panel} panel
   * @param {string} tool
   * @param {HTMLElement} button
   */
  tool(panel, tool, button) {
    const { pins, logPanels } = view.peek();
    if (tool === "reset") this.resetZoom(panel.key);
    else if (tool === "log") change({ logPanels: toggled(logPanels, panel.key) });
    else if (tool === "pin") change({ pins: toggled(pins, panel.key) });
    else if (tool === "full") change({ full: panel.key });
    else if (tool === "download" && panel.chart) openDownloads(button, { key: panel.key, chart: panel.chart, runs: this.drawn });
  }

  /**
   * @param {string} key
   * @param {string} before
   */
  move(key, before) {
    const section = this.sections?.find((one) => one.id !== PINNED && one.keys.includes(key));
    if (!section) return;
    const from = section.keys.indexOf(key), to = section.keys.indexOf(before);
    change({ order: moveBefore(view.peek().order, key, from < to ? section.keys[to + 1] ?? "" : before) });
  }

  stepMetrics() {
    return [...new Set(this.metrics.keys.peek().map((one) => one.step_metric).filter((key) => typeof key === "string"))];
  }

  /** The width changed: charts follow at once, other buckets are asked for when it rests. */
  resized() {
    if (!this.visible) return;
    clearTimeout(this.resizing);
    if (this.missed) {
      this.missed = false;
      this.loader.refresh(this.drawn);
      this.metrics.changed();
    }
    this.wake();
    for (const panel of this.mountedPanels()) panel.chart?.resize();
    this.resizing = setTimeout(() => {
      for (const panel of this.mountedPanels()) this.want(panel);
    }, 150);
  }
}
