/**
 * Rows on the screen out of many thousands. The rows lie in a box that stays in view while the page behind it scrolls, so
 * that none is ever blank; rows are reused. Does not know what a row shows.
 */
import { h } from "../core/dom.js";

/**
 * @typedef {object} RowNode
 * @property {HTMLElement} node
 * @property {HTMLElement[]} cells
 * @property {number} index of the entry it shows; −1 for none
 * @property {number} version of the data it shows
 *
 * @typedef {object} GridOptions
 * @property {() => number} size entries in all
 * @property {(row: RowNode, index: number) => void} fill shows entry `index` in `row`
 * @property {() => RowNode} make a row without content
 */

/** Rows above and below what is seen. */
const SPARE = 4;

export class Grid {
  /** @type {RowNode[]} */
  #pool = [];
  #version = 0;
  #frame = 0;

  /**
   * @param {HTMLElement} scroller
   * @param {HTMLElement} head stays at the top
   * @param {GridOptions} options
   */
  constructor(scroller, head, options) {
    this.scroller = scroller;
    this.head = head;
    this.options = options;
    this.rowHeight = 27;
    this.rows = h("div", { class: "rows", role: "presentation" });
    this.window = h("div", { class: "window", role: "rowgroup" }, this.rows);
    this.spacer = h("div", { class: "spacer", role: "presentation" });
    scroller.append(head, this.window, this.spacer);
    scroller.addEventListener("scroll", () => this.#place(), { passive: true });
    this.observer = new ResizeObserver(() => this.layout());
    this.observer.observe(scroller);
    this.observer.observe(head);
  }

  /** Space for rows, in pixels. */
  get viewHeight() {
    return Math.max(0, this.scroller.clientHeight - this.head.offsetHeight);
  }

  /** Rows that fit. */
  get page() {
    return Math.max(1, Math.floor(this.viewHeight / this.rowHeight));
  }

  /** Sizes changed: lay out again. */
  layout() {
    const height = this.viewHeight;
    const total = this.options.size() * this.rowHeight;
    this.window.style.setProperty("height", `${height}px`);
    this.window.style.setProperty("top", `${this.head.offsetHeight}px`);
    // The window lies over the spacer, and takes no height of its own.
    this.window.style.setProperty("margin-bottom", `${-height}px`);
    this.spacer.style.setProperty("height", `${Math.max(total, 1)}px`);
    const wanted = Math.ceil(height / this.rowHeight) + 2 * SPARE;
    while (this.#pool.length < wanted) {
      const row = this.options.make();
      this.#pool.push(row);
      this.rows.append(row.node);
    }
    while (this.#pool.length > wanted) this.#pool.pop()?.node.remove();
    for (const row of this.#pool) row.index = -1;
    this.#place();
  }

  /** Make all rows again: their cells changed. */
  rebuild() {
    this.rows.replaceChildren();
    this.#pool = [];
    this.layout();
  }

  /** The data changed: show it in the next frame. */
  refresh() {
    this.#version += 1;
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      const total = `${Math.max(this.options.size() * this.rowHeight, 1)}px`;
      if (this.spacer.style.getPropertyValue("height") !== total) this.spacer.style.setProperty("height", total);
      this.#place();
    });
  }

  /** Show it at once, for what must not wait for a frame. */
  refreshNow() {
    this.#version += 1;
    this.spacer.style.setProperty("height", `${Math.max(this.options.size() * this.rowHeight, 1)}px`);
    this.#place();
  }

  /** First row in view, and how far it is scrolled out. */
  get first() {
    return Math.floor(this.scroller.scrollTop / this.rowHeight);
  }

  /** @param {number} index brings it into view with as little movement as possible */
  reveal(index) {
    const top = index * this.rowHeight;
    const { scrollTop } = this.scroller;
    if (top < scrollTop) this.scroller.scrollTop = top;
    else if (top + this.rowHeight > scrollTop + this.viewHeight) this.scroller.scrollTop = top + this.rowHeight - this.viewHeight;
  }

  /**
   * @param {number} index
   * @returns {RowNode | null} the row that shows an entry
   */
  rowOf(index) {
    return this.#pool.find((row) => row.index === index && !row.node.hidden) ?? null;
  }

  /** @returns {RowNode[]} rows that show something */
  get shown() {
    return this.#pool.filter((row) => row.index >= 0 && !row.node.hidden);
  }

  #place() {
    const size = this.options.size();
    const { scrollTop } = this.scroller;
    const count = this.#pool.length;
    const from = Math.max(0, Math.min(Math.floor(scrollTop / this.rowHeight) - SPARE, Math.max(0, size - count)));
    for (let index = from; index < from + count; index += 1) {
      const row = /** @type {RowNode} */ (this.#pool[index % count]);
      if (index >= size) {
        if (!row.node.hidden) row.node.hidden = true;
        row.index = -1;
        continue;
      }
      if (row.index === index && row.version === this.#version) continue;
      if (row.index !== index) row.node.style.setProperty("transform", `translateY(${index * this.rowHeight}px)`);
      if (row.node.hidden) row.node.hidden = false;
      row.index = index;
      row.version = this.#version;
      this.options.fill(row, index);
    }
    this.rows.style.setProperty("transform", `translateY(${-scrollTop}px)`);
  }

  release() {
    this.observer.disconnect();
    cancelAnimationFrame(this.#frame);
  }
}
