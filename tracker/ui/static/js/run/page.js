/**
 * The page of one run: its head, and the tabs that the registry has.
 */
import { clear, h, replace } from "../core/dom.js";
import { bind } from "../core/keys.js";
import { tabs } from "../core/registry.js";
import { matching, runs, selection } from "../core/runs.js";
import { arrangement } from "../table/model.js";
import { change, view } from "../core/state.js";
import { RunData } from "./data.js";
import { mountHeader, toggleSelected } from "./header.js";
import { registerTabs } from "./tabs.js";

registerTabs();

/**
 * @param {HTMLElement} node
 * @param {string} ref
 * @returns {() => void} ends it
 */
export function mountRun(node, ref) {
  const data = new RunData(ref);
  const head = h("header", { class: "run-head" });
  const bar = h("div", { class: "run-bar", role: "status" });
  const list = h("div", { class: "run-tabs", role: "tablist", "aria-label": "Parts of the run" });
  const body = h("div", { class: "run-body", role: "tabpanel", tabindex: "-1" });
  const page = h("div", { class: "run-page" }, bar, head, list, body);
  node.append(page);

  /** @type {(() => void) | void} */
  let endTab;
  let shown = "";
  const showTab = () => {
    const run = data.details.peek();
    if (!run) return;
    const there = tabs.value.filter((tab) => !tab.when || tab.when(run));
    const chosen = there.find((tab) => tab.id === view.value.tab) ?? there[0];
    const ids = there.map((tab) => tab.id).join();
    if (list.dataset.ids !== ids) {
      list.dataset.ids = ids;
      replace(list, there.map((tab) => h("button", {
        type: "button", role: "tab", id: `tab-${tab.id}`, data: { tab: tab.id }, on: { click: () => change({ tab: tab.id === there[0]?.id ? "" : tab.id }) },
      }, tab.label)));
    }
    for (const button of /** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll("[role=tab]"))) {
      const on = button.dataset.tab === chosen?.id;
      button.setAttribute("aria-selected", String(on));
      button.tabIndex = on ? 0 : -1;
    }
    if (!chosen || shown === chosen.id) return;
    shown = chosen.id;
    endTab?.();
    clear(body);
    body.setAttribute("aria-labelledby", `tab-${chosen.id}`);
    const host = h("div", { class: `run-tab run-tab-${chosen.id}` });
    body.append(host);
    endTab = chosen.mount(host, { ref, run, data });
    node.scrollTop = 0;
  };
  list.addEventListener("keydown", (event) => {
    const all = /** @type {HTMLElement[]} */ ([...list.querySelectorAll("[role=tab]")]);
    const at = all.indexOf(/** @type {any} */ (document.activeElement));
    /** @type {Record<string, number>} */
    const to = { ArrowRight: (at + 1) % all.length, ArrowLeft: (at - 1 + all.length) % all.length, Home: 0, End: all.length - 1 };
    if (!(event.key in to) || at < 0) return;
    event.preventDefault();
    const next = all[/** @type {number} */ (to[event.key])];
    next?.click();
    next?.focus();
  });

  const showTrouble = () => {
    const error = data.trouble.value;
    const nothing = !data.details.peek();
    bar.hidden = !error || error.code === "unreachable" && !nothing;
    if (!error) return;
    if (nothing) {
      replace(bar, h("div", { class: "empty" }, h("strong", null, error.status === 410 ? "This run was deleted." : error.status === 404 ? "There is no such run." : "This run cannot be shown."),
        h("p", null, error.message), h("button", { type: "button", on: { click: () => change({ page: "runs" }) } }, "All runs")));
      return;
    }
    const gone = error.status === 410 || error.status === 404;
    replace(bar, h("p", { class: "notice warn" }, gone ? "This run was deleted; the page shows what was loaded." : error.message,
      h("button", { type: "button", class: "link", on: { click: () => change({ page: "runs" }) } }, "All runs")));
  };

  const move = (/** @type {number} */ by) => {
    const next = neighbour(ref, by);
    if (next) change({ ref: next }, { replace: true });
  };
  const endHeader = mountHeader(head, data, { previous: () => move(-1), next: () => move(1) });
  head.hidden = true;
  bar.hidden = true;
  let first = true;
  const ends = [
    endHeader,
    data.details.subscribe((run) => {
      if (!run) return;
      head.hidden = false;
      document.title = `${run.name} · tracker`;
      if (first) first = false;
      showTab();
    }),
    data.trouble.subscribe(showTrouble),
    tabs.subscribe(showTab),
    view.subscribe(showTab),
    runs.subscribe(() => {
      // The list of runs says first that a run was deleted.
      if (runs.peek().loaded && data.details.peek() && !runs.peek().index.has(ref)) void data.load();
    }),
    bind("j", "Next run", () => move(1), { page: "run" }),
    bind("k", "Previous run", () => move(-1), { page: "run" }),
    bind("Space", "Show in charts and in compare, or hide", () => toggleSelected(ref), { page: "run" }),
    bind("c", "Compare the selected runs", () => change({ page: "compare" }), { page: "run" }),
    bind("Escape", "Back to the runs", () => change({ page: "runs" }), { page: "run" }),
    bind("[", "Previous tab", () => step(list, -1), { page: "run" }),
    bind("]", "Next tab", () => step(list, 1), { page: "run" }),
  ];
  void data.load();
  return () => {
    ends.forEach((end) => end());
    endTab?.();
    data.close();
    node.replaceChildren();
  };
}

/**
 * @param {HTMLElement} list
 * @param {number} by
 */
function step(list, by) {
  const all = /** @type {HTMLElement[]} */ ([...list.querySelectorAll("[role=tab]")]);
  const at = all.findIndex((tab) => tab.getAttribute("aria-selected") === "true");
  all[(at + by + all.length) % all.length]?.click();
}

/**
 * The run before or after `ref`, among the selected ones if it is one of several that were chosen, else in the order of the table.
 * @param {string} ref
 * @param {number} by
 * @returns {string | null}
 */
function neighbour(ref, by) {
  const chosen = selection.peek();
  const pass = matching.peek();
  const all = view.peek().chosen && chosen.length > 1 && chosen.includes(ref) ? chosen : arrangement.peek().refs.length ? arrangement.peek().refs : runs.peek().refs.filter((one) => !pass || pass.has(one));
  if (!all.length) return null;
  const at = all.indexOf(ref);
  return all[(at + by + all.length) % all.length] ?? null;
}
