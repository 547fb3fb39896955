/** A panel of another kind than numbers: text series, histograms, media. What it shows comes from the registry. */
import { h } from "../core/dom.js";
import { keyText } from "../core/format.js";
import { panelKind } from "../core/registry.js";
import { titleParts } from "./panel.js";

export class KindPanel {
  /**
   * @param {string} id
   * @param {string} section
   * @param {string} key
   * @param {string} title
   * @param {string} kind
   * @param {() => string[]} runs
   */
  constructor(id, section, key, title, kind, runs) {
    this.id = id;
    this.section = section;
    this.key = key;
    this.kind = kind;
    this.runs = runs;
    this.shown = "";
    /** @type {(() => void) | void} */
    this.end = undefined;
    this.body = h("div", { class: "panel-plot panel-kind" });
    this.element = h("article", { class: "panel", tabindex: "0", "aria-label": key }, h("header", { class: "panel-head" }, h("h3", { class: "panel-title", title: key }, ...titleParts(keyText(title)))), this.body);
  }

  /** @param {boolean} near */
  mount(near) {
    if (near) this.draw();
  }

  /** Show it; again only when the runs differ. */
  draw() {
    const runs = this.runs();
    const shown = runs.join("\n");
    if (shown === this.shown && this.body.firstChild) return;
    this.unmount();
    this.shown = shown;
    this.end = panelKind(this.kind)?.mount(this.body, { key: this.key, runs, ref: runs[0] });
  }

  unmount() {
    this.end?.();
    this.end = undefined;
    this.shown = "";
    this.body.replaceChildren();
  }
}
