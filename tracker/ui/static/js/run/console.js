/**
 * Tabs for console output and system metrics, which are not recorded yet; they show what the program logged itself.
 */
import { h, replace } from "../core/dom.js";
import { change } from "../core/state.js";
import { listTexts } from "./text.js";

/** Keys under which programs log the state of the machine themselves. */
const SYSTEM = /^(system|sys|gpu|cpu|host|hardware)[./]/i;
/** Keys of text series that are output of the program. */
const OUTPUT = /^(console|stdout|stderr|output|log)([./]|$)/i;

/** @typedef {{data: import("./data.js").RunData}} Context */

/**
 * @param {HTMLElement} node
 * @param {Context} context
 * @returns {() => void} ends it
 */
export function mountSystem(node, { data }) {
  const show = () => {
    const keys = (data.keys.value ?? []).filter((one) => SYSTEM.test(one.key));
    const prefix = keys[0]?.key.match(SYSTEM)?.[0] ?? "";
    replace(node, h("div", { class: "empty" },
      h("strong", null, keys.length ? "System metrics that the program logged" : "No system metrics"),
      h("p", null, "CPU, memory, GPU and disk usage is not recorded automatically yet. Values logged under ", h("code", null, "system."), " are metrics like any other."),
      keys.length ? h("p", null, h("button", { type: "button", on: { click: () => change({ tab: "charts", search: prefix }) } }, `Show the ${keys.length === 1 ? "chart" : `${keys.length} charts`} of ${prefix}*`)) : null));
  };
  show();
  return data.keys.subscribe(show);
}

/**
 * @param {HTMLElement} node
 * @param {Context} context
 * @returns {() => void} ends it
 */
export function mountConsole(node, { data }) {
  const place = h("div", { class: "empty" });
  const texts = h("div", { class: "text-sections" });
  replace(node, place, texts);
  const list = listTexts(texts, data, (key) => OUTPUT.test(key));
  const show = () => {
    const some = (data.keys.value ?? []).some((one) => one.kind === "text" && OUTPUT.test(one.key));
    place.hidden = some;
    replace(place, h("strong", null, "No console output"), h("p", null, "The output of the program is not recorded yet. Text logged as a metric is on the tab Media."));
  };
  show();
  const end = data.keys.subscribe(show);
  return () => {
    end();
    list();
  };
}
