/** Messages of the charts page if there is nothing to show, or not everything is shown. */
import { h, replace } from "../core/dom.js";
import { whole } from "../core/format.js";
import { change } from "../core/state.js";

/**
 * @typedef {object} Situation
 * @property {boolean} early whether the charts wait until all runs have been read
 * @property {number} chosen number of selected runs
 * @property {"" | "selected" | "all"} filtered what the query and the filters leave out, if no run is left
 * @property {number} drawn number of them that are drawn
 * @property {number} runs number of all runs
 * @property {boolean} loading whether the first answer is awaited
 * @property {string} error why metrics could not be loaded, or ""
 * @property {number} metrics number of metrics of the drawn runs
 * @property {number} found number of metrics that match the search
 * @property {string} search
 */

export class Notice {
  constructor() {
    this.element = h("div", { class: "panels-notice", role: "status", hidden: true });
    this.shown = "";
  }

  /** @param {Situation} situation */
  show(situation) {
    const content = sentence(situation);
    const text = content.map((part) => (typeof part === "string" ? part : part.textContent)).join("|");
    if (text === this.shown) return;
    this.shown = text;
    this.element.classList.toggle("empty", !situation.found || !situation.chosen);
    this.element.hidden = !content.length;
    replace(this.element, ...content);
  }
}

/**
 * @param {Situation} situation
 * @returns {(string | HTMLElement)[]}
 */
function sentence({ early, filtered, chosen, drawn, runs, loading, error, metrics, found, search }) {
  if (early) return ["The charts appear when all runs have been read. To see some now, select their runs in the table."];
  if (filtered === "all") return [h("strong", null, "No runs match"), "The query and the filters leave out all runs, so there are no charts."];
  if (filtered) return [h("strong", null, "No selected runs match"), "The query and the filters leave them out. Select runs in the table to see their charts."];
  if (!chosen) return !loading && runs ? [h("strong", null, "No runs selected"), "Select runs in the table to see their charts."] : [];
  if (error && !metrics) return [h("strong", null, "The metrics could not be loaded"), error];
  if (!metrics) return loading ? [] : [h("p", null, "No metrics yet. They appear here within two seconds of ", h("code", null, "run.log"), ".")];
  if (!found) {
    const clear = () => change({ search: "" }, { undo: false });
    return [h("strong", null, "No metrics match"), h("code", null, search), h("button", { type: "button", on: { click: clear } }, "Clear the search")];
  }
  if (chosen > drawn) return [`Charts show the first ${whole(drawn)} of ${whole(chosen)} selected runs. Select fewer to see the others.`];
  return [];
}
