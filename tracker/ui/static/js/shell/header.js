/**
 * The header: name, pages, project, query line, live indicator, views, theme.
 */
import { h } from "../core/dom.js";
import { change, view } from "../core/state.js";
import { nextTheme, theme } from "../core/theme.js";

/**
 * @param {HTMLElement} header
 * @param {HTMLElement} bar
 */
export function mountHeader(header, bar) {
  bar.hidden = true;
  const tabs = ["runs", "charts", "compare"].map((page) => h("a", { href: `#/${page}`, on: { click: (/** @type {MouseEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    change({ page });
  } } }, page[0]?.toUpperCase() + page.slice(1)));
  const themes = h("button", { class: "icon", type: "button", on: { click: nextTheme } }, "◐");
  header.append(h("a", { class: "brand", href: "#/runs" }, "tracker"), h("nav", null, tabs), h("div", { class: "grow" }), themes);
  const show = () => tabs.forEach((tab, at) => {
    if (["runs", "charts", "compare"][at] === view.value.page) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  });
  view.subscribe(show);
  show();
  theme.subscribe(() => themes.setAttribute("aria-label", `Theme: ${view.value.theme}`));
}
