/** Keys of the charts. */
import { bind } from "../core/keys.js";
import { change, view } from "../core/state.js";
import { nextX } from "./axis.js";
import { moveBy, PINNED } from "./sections.js";
import { toggled } from "./settings.js";

/** Pages that show charts. */
const PAGES = "runs|charts|run";

/**
 * @param {import("./page.js").ChartsPage} page
 * @returns {() => void} ends the bindings
 */
export function bindKeys(page) {
  const current = () => page.full.key || page.current?.key || "";
  /**
   * @param {string} key
   * @param {string} label
   * @param {() => void} run
   */
  const on = (key, label, run) => bind(key, label, () => {
    if (page.element.offsetParent !== null) run();
  }, { page: PAGES });
  const ends = [
    on("x", "Next x axis", () => change({ x: nextX(view.peek().x, page.stepMetrics()), zoom: null })),
    on("y", "Logarithmic y axis", () => change({ logY: !view.peek().logY, logPanels: [] })),
    on("Y", "Logarithmic y axis of the panel under the pointer", () => current() && change({ logPanels: toggled(view.peek().logPanels, current()) })),
    on("s", "Smoothing", () => page.toolbar.focusSmoothing()),
    on("g", "Fold or unfold runs that differ only in their seed", () => change(view.peek().group.length ? { group: [] } : { seeds: !view.peek().seeds })),
    on("0", "Reset zoom", () => page.resetZoom()),
    on("l", "Follow the newest points", () => change({ follow: !view.peek().follow })),
    on("f", "Full screen: the panel under the pointer", () => page.openFull(current())),
    on("p", "Pin the metric under the pointer at the top", () => current() && change({ pins: toggled(view.peek().pins, current()) })),
    on("m", "Search metrics", () => page.toolbar.focusSearch()),
    on("e", "Download the panel under the pointer", () => page.current && page.tool(page.current, "download", page.current.element)),
    on("Alt+ArrowLeft", "Move the panel to the left", () => shift(page, -1)),
    on("Alt+ArrowRight", "Move the panel to the right", () => shift(page, 1)),
  ];
  return () => ends.forEach((end) => end());
}

/**
 * Move the panel with the focus within its section; focus stays on it.
 * @param {import("./page.js").ChartsPage} page
 * @param {number} delta
 */
function shift(page, delta) {
  const panel = page.current;
  const section = panel && page.sections.find((one) => one.id === panel.section);
  if (!panel || !section) return;
  if (section.id === PINNED) {
    const pins = [...section.keys];
    const from = pins.indexOf(panel.key);
    if (from + delta < 0 || from + delta >= pins.length) return;
    pins.splice(from, 1);
    pins.splice(from + delta, 0, panel.key);
    change({ pins });
    return;
  }
  const order = moveBy(view.peek().order, section.keys, panel.key, delta);
  if (order) change({ order });
}
