/**
 * Grid of panels in foldable sections. Every panel has a placeholder of its final size, so that nothing moves; only those on the screen, or one row beyond it, are mounted.
 * It knows panels as objects with an element, `mount` and `unmount`, and nothing of their charts.
 */
import { h } from "../core/dom.js";
import { pack } from "./sections.js";

/**
 * @typedef {import("./sections.js").Section} Section
 *
 * @typedef {object} GridPanel
 * @property {string} id
 * @property {HTMLElement} element
 * @property {(near: boolean) => void} mount show it; `near`: it is on the screen, not just beyond it
 * @property {() => void} unmount
 *
 * @typedef {object} GridContext
 * @property {(section: string, key: string) => GridPanel} makePanel
 * @property {(section: string) => void} toggleSection
 */

/** Maximum number of panels kept though they are not on the page. */
const MOST_SPARE = 5000;
/** Distance from the screen at which panels are mounted, in CSS pixels: about a row. */
const BEYOND = 240;

export class Grid {
  /** @param {GridContext} context */
  constructor(context) {
    this.context = context;
    this.element = h("div", { class: "panels-grid" });
    /** @type {Map<string, GridPanel>} */
    this.panels = new Map();
    /** @type {Map<string, GridPanel>} panels that a search or a folded section took away; they may come back */
    this.spare = new Map();
    /** @type {Map<Element, GridPanel>} */
    this.byElement = new Map();
    /** @type {Map<string, {element: HTMLElement, button: HTMLElement, count: HTMLElement, body: HTMLElement}>} */
    this.sections = new Map();
    /** @type {Set<GridPanel>} */
    this.onScreen = new Set();
    /** @type {Set<GridPanel>} */
    this.mounted = new Set();
    /** @type {IntersectionObserver[]} */
    this.observers = [];
    this.columns = 1;
    /** @type {Section[]} */
    this.shown = [];
    this.sizes = new ResizeObserver(() => this.layOut());
    this.sizes.observe(this.element);
  }

  /**
   * Give each section as many columns as it has panels, so that small sections stand side by side. Called when the width or the size of panels changes.
   */
  layOut() {
    const style = getComputedStyle(this.element);
    const width = parseFloat(style.getPropertyValue("--panel-width")) || 264, gap = parseFloat(style.columnGap) || 8;
    this.columns = columnsFor(this.element.clientWidth, width, gap);
    this.element.style.setProperty("--columns", String(this.columns));
    const spans = this.shown.map((section) => (section.folded ? this.columns : Math.min(this.columns, section.keys.length)));
    const elements = this.shown.map((section) => this.sectionParts(section.id).element);
    elements.forEach((element, i) => element.style.setProperty("--span", String(spans[i])));
    arrangeChildren(this.element, pack(spans, this.columns).map((i) => elements[i]));
  }

  /**
   * Watch which panels are on the screen. Call again when another element scrolls.
   * @param {HTMLElement | null} root element that scrolls; null for the page
   */
  observe(root) {
    for (const observer of this.observers) observer.disconnect();
    this.observers = [
      new IntersectionObserver((entries) => this.see(entries, this.onScreen), { root }),
      new IntersectionObserver((entries) => this.see(entries, this.mounted), { root, rootMargin: `${BEYOND}px 0px` }),
    ];
    for (const panel of this.panels.values()) for (const observer of this.observers) observer.observe(panel.element);
  }

  /**
   * @param {IntersectionObserverEntry[]} entries
   * @param {Set<GridPanel>} set
   */
  see(entries, set) {
    for (const entry of entries) {
      const panel = this.byElement.get(entry.target);
      if (!panel) continue;
      const had = set.has(panel);
      if (entry.isIntersecting === had) continue;
      if (entry.isIntersecting) set.add(panel);
      else set.delete(panel);
      if (this.mounted.has(panel) || this.onScreen.has(panel)) panel.mount(this.onScreen.has(panel));
      else panel.unmount();
    }
  }

  /**
   * Show these sections. Elements of panels that stay are kept and moved only where the order differs, so that focus and scroll stay.
   * @param {Section[]} sections
   */
  show(sections) {
    const focused = document.activeElement;
    this.shown = sections;
    const present = new Set();
    for (const section of sections) {
      const parts = this.sectionParts(section.id);
      parts.button.textContent = section.label;
      parts.count.textContent = String(section.keys.length);
      parts.button.setAttribute("aria-expanded", String(!section.folded));
      parts.element.classList.toggle("folded", section.folded);
      const children = section.folded ? [] : section.keys.map((key) => {
        const id = panelId(section.id, key);
        present.add(id);
        return this.panel(id, section.id, key).element;
      });
      arrangeChildren(parts.body, children);
    }
    for (const [id, panel] of this.panels) if (!present.has(id)) this.remove(id, panel);
    if (this.spare.size > MOST_SPARE) this.spare.clear();
    const ids = new Set(sections.map((section) => section.id));
    for (const id of this.sections.keys()) if (!ids.has(id)) this.sections.delete(id);
    this.layOut();
    // An element that is moved loses the focus.
    if (focused instanceof HTMLElement && focused !== document.activeElement && this.element.contains(focused)) focused.focus({ preventScroll: true });
  }

  /** @param {string} id */
  sectionParts(id) {
    let parts = this.sections.get(id);
    if (!parts) {
      const button = h("button", { class: "section-fold", type: "button", on: { click: () => this.context.toggleSection(id) } });
      const count = h("span", { class: "section-count" });
      const body = h("div", { class: "section-body" });
      const element = h("section", { class: "section" }, h("h2", { class: "section-head" }, button, count), body);
      parts = { element, button, count, body };
      this.sections.set(id, parts);
    }
    return parts;
  }

  /**
   * @param {string} id
   * @param {string} section
   * @param {string} key
   */
  panel(id, section, key) {
    let panel = this.panels.get(id);
    if (!panel) {
      panel = this.spare.get(id) ?? this.context.makePanel(section, key);
      this.spare.delete(id);
      this.panels.set(id, panel);
      this.byElement.set(panel.element, panel);
      for (const observer of this.observers) observer.observe(panel.element);
    }
    return panel;
  }

  /**
   * @param {string} id
   * @param {GridPanel} panel
   */
  remove(id, panel) {
    for (const observer of this.observers) observer.unobserve(panel.element);
    panel.unmount();
    panel.element.remove();
    this.panels.delete(id);
    this.spare.set(id, panel);
    this.byElement.delete(panel.element);
    this.onScreen.delete(panel);
    this.mounted.delete(panel);
  }

  close() {
    this.sizes.disconnect();
    for (const observer of this.observers) observer.disconnect();
    for (const [id, panel] of [...this.panels]) this.remove(id, panel);
    this.spare.clear();
  }

  /** Forget panels that are not on the page: their titles or kinds may have changed. */
  forget() {
    this.spare.clear();
  }
}

/**
 * Number of columns of panels.
 * @param {number} width of the grid, in CSS pixels
 * @param {number} least smallest width of a panel
 * @param {number} gap
 * @returns {number}
 */
export function columnsFor(width, least, gap) {
  return Math.max(1, Math.floor((width + gap) / (least + gap)));
}

/**
 * @param {string} section
 * @param {string} key
 * @returns {string}
 */
export function panelId(section, key) {
  return `${section}\n${key}`;
}

/**
 * Make `children` the children of `parent`, touching only what differs.
 * @param {HTMLElement} parent
 * @param {HTMLElement[]} children
 */
function arrangeChildren(parent, children) {
  if (!parent.firstChild) {
    parent.append(...children);
    return;
  }
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(/** @type {HTMLElement} */ (child))) child.remove();
  /** @type {ChildNode | null} */
  let at = parent.firstChild;
  for (const child of children) {
    if (child === at) at = at.nextSibling;
    else parent.insertBefore(child, at);
  }
}
