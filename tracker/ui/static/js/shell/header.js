/**
 * The header: name, pages, project, query line, whether the page is live, saved views, more, theme.
 */
import { api, connection } from "../core/api.js";
import { h } from "../core/dom.js";
import { clock, whole } from "../core/format.js";
import { icon } from "../core/icons.js";
import { showKeys } from "../core/keys.js";
import { openMenu } from "../core/menu.js";
import { openPalette } from "../core/palette.js";
import { runs } from "../core/runs.js";
import { change, serialize, undoable, view } from "../core/state.js";
import { nextTheme, theme } from "../core/theme.js";
import { copyLink, redoIt, undoIt } from "./acts.js";
import { mountQueryLine } from "./queryline.js";
import { openViews } from "./views.js";
import { saveAsFile } from "../save/save.js";

/** @type {[string, string][]} */
const PAGES = [["runs", "Runs"], ["charts", "Charts"], ["compare", "Compare"]];

/** @param {HTMLElement} header */
export function mountHeader(header) {
  const tabs = PAGES.map(([page, label]) => h("a", { on: { click: (/** @type {MouseEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    change({ page });
  } } }, label));
  const project = h("button", { class: "plain project", type: "button", "aria-haspopup": "menu", on: { click: () => openProjects(project) } });
  const line = h("div", { class: "query" });
  const live = h("div", { class: "live" });
  const views = h("button", { class: "plain views", type: "button", "aria-haspopup": "menu", on: { click: () => void openViews(views) } }, "Views ▾");
  const more = h("button", { class: "icon", type: "button", title: "More", "aria-label": "More", "aria-haspopup": "menu", on: { click: () => openMore(more) } }, icon("more"));
  const themes = h("button", { class: "icon", type: "button", on: { click: nextTheme } });
  header.append(h("a", { class: "brand", href: "#/runs", on: { click: (/** @type {Event} */ event) => { event.preventDefault(); change({ page: "runs" }); } } }, "tracker"),
    h("nav", { "aria-label": "Pages" }, tabs), project, line, live, views, more, themes);
  mountQueryLine(line);

  const show = () => {
    tabs.forEach((tab, at) => {
      const page = /** @type {[string, string]} */ (PAGES[at])[0];
      tab.setAttribute("href", serialize({ ...view.value, page, ref: "", tab: "" }));
      if (page === view.value.page) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    });
    const name = { auto: "as the system", light: "light", dark: "dark" }[view.value.theme] ?? "";
    themes.title = `Theme: ${name}`;
    themes.setAttribute("aria-label", themes.title);
    themes.replaceChildren(icon(view.value.theme));
  };
  const showProject = () => {
    const all = new Set(runs.value.columns.get("project") ?? []);
    project.hidden = all.size < 2 && view.value.project === "";
    project.textContent = `${view.value.project || "All projects"} ▾`;
    project.title = view.value.project || "All projects";
  };
  const showLive = () => {
    const { ok, last } = connection.value;
    const text = api.saved ? "saved file" : !ok ? "offline" : last ? clock(last) : "";
    live.className = `live ${ok ? "ok" : "gone"}`;
    live.title = api.saved ? "Saved as a file, with its data" : ok ? "Live: changes appear within two seconds" : "The server does not answer";
    live.textContent = "";
    live.append(h("span", { class: "dot", "aria-hidden": "true" }, ok ? "●" : "○"), h("span", { class: "live-word" }, ok && !api.saved ? "live" : ""), h("span", { class: "num" }, text));
  };
  view.subscribe(show);
  theme.subscribe(show);
  view.subscribe(showProject);
  runs.subscribe(showProject);
  connection.subscribe(showLive);
  show();
  showProject();
  showLive();
}

/** @param {Element} anchor */
function openProjects(anchor) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const name of runs.value.columns.get("project") ?? []) if (name) counts.set(name, (counts.get(name) ?? 0) + 1);
  const chosen = view.value.project;
  openMenu(anchor, [{ label: "All projects", checked: chosen === "", keys: whole(runs.value.refs.length), run: () => change({ project: "" }) }, "-",
    ...[...counts].sort((a, b) => a[0].localeCompare(b[0])).map(([name, n]) => ({ label: name, checked: name === chosen, keys: whole(n), run: () => change({ project: name }) }))], { label: "Projects" });
}

/** @param {Element} anchor */
function openMore(anchor) {
  openMenu(anchor, [
    { label: "Undo", keys: "z", disabled: !undoable.value.undo, run: undoIt },
    { label: "Redo", keys: "Z", disabled: !undoable.value.redo, run: redoIt },
    "-",
    { label: "Copy link", run: () => void copyLink() },
    { label: "Save as one HTML file", disabled: api.saved, title: "The view with its data; opens without a server", run: () => void saveAsFile() },
    { label: "Find…", keys: "Ctrl+K", run: openPalette },
    { label: "Keys", keys: "?", run: showKeys },
    "-",
    { label: "API", title: "The documented API that this page uses", run: () => void open(api.url("meta"), "_blank", "noopener") },
  ], { label: "More" });
}
