/**
 * Chart: lines and bands over an x axis on a canvas, with hover, zoom and export. Takes data, options and a cursor; says what
 * the user points at and which range they ask for. Does not know pages, runs or fetching, and does not zoom by itself: the
 * owner hands the range back with `setOptions`.
 */
import { Board } from "./board.js";
import { drawPicture } from "./draw.js";
import { pictureCsv } from "./csv.js";
import { exportPng, exportSvg } from "./export.js";
import { listen } from "./gestures.js";
import { marksAt } from "./strip.js";
import { nearestShape, readingAt } from "./nearest.js";
import { drawOver } from "./over.js";
import { DEFAULTS, makePicture } from "./picture.js";
import { ordered, panRange, zoomRange } from "./scale.js";
import { describe, rowsOf } from "./describe.js";
import { lowerBound, traceOf } from "./series.js";
import { Pin } from "./pin.js";
import { theme } from "./theme.js";
import { hideValues, say, showValues } from "./values.js";
import { pointAt, REACH } from "./pointing.js";
import { placeText, readingText } from "./words.js";

/**
 * @typedef {import("./series.js").Line} Line
 * @typedef {import("./picture.js").Options} Options
 *
 * @typedef {object} Callbacks
 * @property {(run: string | null, x: number | null) => void} [onHover] Nearest run and x at the pointer; nulls when it leaves.
 * @property {(range: [number, number] | null, detail: {axis: "x" | "y", done: boolean}) => void} [onZoom]
 *   Range that the user asks for; null for all. `done` is false during a pan or a pinch.
 * @property {(run: string, x: number) => void} [onPick] A click on a line. A click also pins the list of values.
 * @property {(run: string, point: {x: number, y: number}) => void} [onMenu] A right click near a line, in pixels of the window.
 * @property {(run: string) => string} [href] Where a name in the pinned list leads; empty for nowhere.
 */

/** Buckets on each side of a mark that a click on it zooms to. */
const MARK_CONTEXT = 4;

export class Chart {
  /**
   * @param {HTMLElement} host Decides the size.
   * @param {Callbacks & Partial<Options>} [settings]
   */
  constructor(host, settings = {}) {
    const { onHover, onZoom, onPick, onMenu, href, ...options } = settings;
    /** @type {Callbacks} */
    this.callbacks = { onHover, onZoom, onPick, onMenu, href };
    /** @type {Options} */
    this.options = { ...DEFAULTS, ...options };
    /** @type {Line[]} */
    this.lines = [];
    /** @type {import("./picture.js").Picture | null} */
    this.picture = null;
    /** @type {[number, number] | null} */
    this.pointer = null;
    /** @type {number | null} */
    this.cursor = null;
    /** @type {string | null} */
    this.highlighted = null;
    /** @type {import("./over.js").Over["selection"]} */
    this.selection = null;
    /** @type {string | null} */
    this.reported = null;
    this.pin = new Pin({
      href: (run) => this.callbacks.href?.(run) ?? "",
      released: () => {
        if (!this.pointer) this.report(null, null);
        this.refreshOver();
      },
    });
    this.board = new Board(host, "chart-lines", { draw: (surface) => this.draw(surface), over: null });
    this.stopListening = this.listenTo(this.board.root);
    this.label();
  }

  /** The element that has the focus and the size. */
  get element() {
    return this.board.root;
  }

  /**
   * Replaces the lines. Range, hover and focus stay.
   * @param {Line[]} lines
   */
  setData(lines) {
    this.lines = lines;
    this.board.invalidate();
    this.label();
  }

  /** @param {Partial<Options>} options Those that change. */
  setOptions(options) {
    const before = JSON.stringify(this.options);
    this.options = { ...this.options, ...options };
    if (JSON.stringify(this.options) === before) return;
    this.board.invalidate();
    this.label();
  }

  /**
   * Shows the vertical line of another chart's pointer.
   * @param {number | null} x
   */
  setCursor(x) {
    if (x === this.cursor) return;
    this.cursor = x;
    if (!this.pointer) this.refreshOver();
  }

  /**
   * Raises a run's lines; null raises none.
   * @param {string | null} run
   */
  highlight(run) {
    if (run === this.highlighted) return;
    this.highlighted = run;
    this.refreshOver();
  }

  /** Takes the host's size; the chart also watches it by itself. */
  resize() {
    this.board.resize();
  }

  /** Drops canvases, listeners and observers, and leaves the page. Data and options stay for `mount`. */
  release() {
    this.pin.release();
    this.leave();
    this.stopListening();
    this.stopListening = () => {};
    this.board.release();
    this.picture = null;
  }

  /** Reverses `release`. */
  mount() {
    if (this.board.mounted) return;
    this.stopListening = this.listenTo(this.board.root);
    this.board.mount();
    this.board.invalidate();
  }

  /** @returns {Promise<Blob>} The chart at twice its size, with title, legend and axis names. */
  toPNG() {
    return exportPng(this.lines, this.options, this.exportSize(), theme());
  }

  /** @returns {string} The same picture as vectors. */
  toSVG() {
    return exportSvg(this.lines, this.options, this.exportSize(), theme());
  }

  /** @returns {string} What is shown, as comma-separated values. */
  toCSV() {
    return pictureCsv(this.lines, this.options);
  }

  /**
   * What the chart shows, for a table beside it.
   * @returns {{columns: string[], rows: string[][]}}
   */
  tableRows() {
    return rowsOf(this.lines, this.options);
  }

  /** @returns {[number, number]} */
  exportSize() {
    if (!this.board.width) this.board.resize();
    return [Math.max(this.board.width, 480), Math.max(this.board.height, 240)];
  }

  label() {
    this.board.root.setAttribute("aria-label", describe(this.lines, this.options));
  }

  /** @param {import("./canvas.js").Surface} surface */
  draw(surface) {
    this.picture = makePicture(this.lines, this.options, this.board.width, this.board.height, surface.pixel, surface.measure);
    drawPicture(surface, this.picture, theme());
    this.pin.show(this.picture);
    this.setOver();
  }

  /** The picture of the present data, computed now if the one on the screen is older. */
  current() {
    if (!this.picture || this.board.stale.picture) this.board.paint();
    return this.picture;
  }

  refreshOver() {
    this.setOver();
    this.board.invalidateOver();
  }

  setOver() {
    const shown = this.pointer || this.cursor !== null || this.highlighted !== null || this.selection || this.pin.x !== null;
    this.board.painter.over = shown ? (surface) => this.drawOver(surface) : null;
  }

  /** @param {import("./canvas.js").Surface} surface */
  drawOver(surface) {
    const picture = this.picture;
    if (!picture) return;
    let run = this.highlighted;
    let cursor = this.cursor;
    if (this.pointer && !this.selection) ({ run, cursor } = this.point(picture, this.pointer));
    if (run === null) run = this.highlighted;
    drawOver(surface, picture, theme(), { run, cursor, own: this.pointer !== null, selection: this.selection, pinned: this.pin.x });
  }

  /**
   * Reports what the pointer is at to the owner, and lists the values beside it.
   * @param {import("./picture.js").Picture} picture
   * @param {[number, number]} pointer
   */
  point(picture, pointer) {
    const { run, x, list } = pointAt(picture, pointer);
    this.report(run, x);
    if (list && this.pin.x === null) {
      const origin = this.board.root.getBoundingClientRect();
      const place = /** @type {[number, number]} */ ([origin.left + list.at[0], origin.top + list.at[1]]);
      showValues(this, list.head, list.rows, list.foot, place, (box) => list.covered({ ...box, left: box.left - origin.left, top: box.top - origin.top }));
    } else hideValues(this);
    return { run, cursor: x };
  }

  /**
   * @param {string | null} run
   * @param {number | null} x
   */
  report(run, x) {
    const id = `${run} ${x}`;
    if (id === this.reported) return;
    this.reported = id;
    this.callbacks.onHover?.(run, x);
  }

  leave() {
    if (!this.pointer && !this.selection) return;
    this.pointer = null;
    this.selection = null;
    hideValues(this);
    // Other charts keep the cursor that is pinned here.
    this.report(null, this.pin.x);
    this.refreshOver();
  }

  /**
   * @param {[number, number] | null} range
   * @param {"x" | "y"} axis
   * @param {boolean} done
   */
  zoom(range, axis, done) {
    if (range && !(range[1] > range[0])) return;
    this.callbacks.onZoom?.(range, { axis, done });
  }

  /**
   * @param {number} px
   * @param {number} py
   */
  click(px, py) {
    const picture = this.current();
    if (!picture) return;
    const { plot, x } = picture;
    if (py > plot.bottom - 1) {
      const mark = marksAt(picture.marks, px)[0];
      if (!mark) return;
      const { x0, x1, count } = traceOf(mark.line.series);
      const first = Math.max(0, lowerBound(x1, mark.x0) - MARK_CONTEXT);
      const last = Math.min(count - 1, lowerBound(x0, mark.x1) + MARK_CONTEXT);
      this.zoom([x0[first], x1[last]], "x", true);
      return;
    }
    const found = nearestShape(picture.shapes, px, py);
    if (found && found.distance <= REACH / 2) this.callbacks.onPick?.(found.shape.line.run, x.invert(px));
    if (this.pin.x !== null) this.pin.release();
    else {
      hideValues(this);
      this.pin.set(this.board.root, picture, [px, py]);
      this.refreshOver();
    }
  }

  /**
   * @param {[number, number]} place
   * @param {{x: number, y: number}} point Of the window.
   */
  menu(place, point) {
    const picture = this.current();
    const found = picture && nearestShape(picture.shapes, ...place);
    if (found && found.distance <= REACH) this.callbacks.onMenu?.(found.shape.line.run, point);
  }

  /**
   * @param {HTMLElement} element
   * @returns {() => void}
   */
  listenTo(element) {
    return listen(element, {
      hover: (x, y) => {
        this.pointer = [x, y];
        this.refreshOver();
      },
      leave: () => this.leave(),
      click: (x, y) => this.click(x, y),
      menu: (x, y) => {
        const { left, top } = this.board.root.getBoundingClientRect();
        const at = x === null || y === null ? this.pointer : /** @type {[number, number]} */ ([x, y]);
        if (at) this.menu(at, { x: left + at[0], y: top + at[1] });
      },
      select: (from, to, vertical, done) => this.select(from, to, vertical, done),
      cancel: () => {
        this.selection = null;
        this.refreshOver();
      },
      pan: (dx, dy, done) => {
        const picture = this.current();
        if (!picture) return;
        this.zoom(panRange(picture.x, dx), "x", done);
        if (dy && this.options.yRange) this.zoom(panRange(picture.y, dy), "y", done);
      },
      zoom: (factor, px, done) => {
        const picture = this.current();
        if (!picture) return;
        const { plot } = picture;
        const at = Number.isNaN(px) ? (plot.left + plot.right) / 2 : Math.min(Math.max(px, plot.left), plot.right);
        this.zoom(zoomRange(picture.x, factor, at), "x", done);
      },
      reset: () => {
        this.zoom(null, "x", true);
        this.zoom(null, "y", true);
      },
      step: (direction) => this.step(direction),
    });
  }

  /**
   * @param {[number, number]} from
   * @param {[number, number]} to
   * @param {boolean} vertical
   * @param {boolean} done
   */
  select(from, to, vertical, done) {
    const picture = this.current();
    if (!picture) return;
    const axis = vertical ? 1 : 0;
    this.selection = done ? null : { from: from[axis], to: to[axis], vertical };
    hideValues(this);
    this.pointer = done ? to : this.pointer;
    if (done) {
      const scale = vertical ? picture.y : picture.x;
      const edges = ordered(Math.min(scale.start, scale.end), Math.max(scale.start, scale.end));
      const inside = (/** @type {number} */ pixel) => Math.min(Math.max(pixel, edges[0]), edges[1]);
      this.zoom(ordered(scale.invert(inside(from[axis])), scale.invert(inside(to[axis]))), vertical ? "y" : "x", true);
    }
    this.refreshOver();
  }

  /**
   * Moves the cursor to the next or previous point of the raised line, or of the first one.
   * @param {number} direction
   */
  step(direction) {
    const picture = this.current();
    if (!picture || picture.empty) return;
    const { shapes, plot, options } = picture;
    const shape = shapes.find((one) => one.line.run === this.highlighted) ?? shapes[shapes.length - 1];
    const from = this.pointer ? this.pointer[0] : direction > 0 ? plot.left : plot.right;
    const reading = readingAt(shape, from, Infinity);
    if (!reading) return;
    const at = this.pointer ? reading.index + direction : reading.index;
    const i = Math.min(Math.max(at - shape.first, 0), shape.count - 1);
    this.pointer = [Math.min(Math.max(shape.xs[i], plot.left), plot.right), Number.isNaN(shape.ys[i]) ? plot.bottom : shape.ys[i]];
    const k = shape.first + i;
    say(`${shape.line.label}, ${placeText(options.xKind, options.xLabel, shape.trace.x0[k], shape.trace.x1[k])}: ${readingText(shape, k)}`);
    this.refreshOver();
  }
}
