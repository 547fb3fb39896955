/**
 * The frame of all pages: header, pages, the table beside the charts. Mounts the page that the view names.
 */
import { mountCompare } from "../compare/page.js";
import { clear, h } from "../core/dom.js";
import { view } from "../core/state.js";
import { mountCharts } from "../panels/page.js";
import { mountRun } from "../run/page.js";
import { mountTable } from "../table/page.js";
import { mountBars } from "./bars.js";
import { startCommands } from "./commands.js";
import { mountHeader } from "./header.js";
import { mountDivider } from "./split.js";
import { startViews } from "./views.js";

/** Titles of the pages. @type {Record<string, string>} */
const TITLES = { runs: "Runs", charts: "Charts", run: "Run", compare: "Compare" };

/** @param {HTMLElement} body */
export function mountShell(body) {
  const header = h("header", { class: "top" });
  const bar = h("div", { class: "bars" });
  const table = h("section", { class: "side", "aria-label": "Runs" });
  const divider = h("div", { class: "divider" });
  const charts = h("section", { class: "charts", "aria-label": "Charts" });
  const split = h("main", { class: "split", id: "split" }, h("h1", { class: "sr" }, "Runs and their charts"), table, divider, charts);
  const page = h("main", { class: "page", id: "page" });
  body.append(header, bar, split, page);
  mountHeader(header);
  mountBars(bar);
  startCommands();
  startViews();
  mountTable(table);
  mountDivider(divider, split);
  mountCharts(charts);

  /** @type {(() => void) | void} */
  let end;
  let shown = "";
  const show = () => {
    const { page: name, ref } = view.value;
    const key = name === "run" ? `run/${ref}` : name === "compare" ? name : "split";
    document.title = `${TITLES[name] ?? name} · tracker`;
    document.documentElement.dataset.page = name;
    split.hidden = key !== "split";
    page.hidden = key === "split";
    if (key === shown) return;
    shown = key;
    end?.();
    end = undefined;
    clear(page);
    if (name === "run") end = mountRun(page, ref);
    else if (name === "compare") end = mountCompare(page);
  };
  view.subscribe(show);
  show();
}
