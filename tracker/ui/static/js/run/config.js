/**
 * The config of a run as a tree that can be searched, folded and copied.
 */
import { h, replace } from "../core/dom.js";
import { keyText, plural } from "../core/format.js";
import { change, view } from "../core/state.js";
import { copyText } from "./copy.js";
import { kindOf, rowsOf, valueText, visibleRows } from "./tree.js";

/** Number of rows rendered at first; the others on demand. */
const MANY = 500;

/**
 * @param {HTMLElement} node
 * @param {import("./data.js").RunData} data
 * @returns {() => void} ends it
 */
export function mountConfig(node, data) {
  /** @type {Set<string>} */
  const folded = new Set();
  let all = false;
  let text = "";
  /** @type {import("./tree.js").Leaf[]} */
  let rows = [];
  const count = h("span", { class: "muted" });
  const search = h("input", { type: "search", placeholder: "Search config", "aria-label": "Search config", on: { input: () => {
    setSearch(search.value);
    show();
  } } });
  search.value = view.peek().options.config ?? "";
  const list = h("div", { class: "tree", role: "table", "aria-label": "Config" });
  replace(node, h("header", { class: "card-head" }, h("h2", null, "Config"), count, h("span", { class: "grow" }), search,
    h("button", { type: "button", title: "Copy the config as JSON", on: { click: () => void copyText(JSON.stringify(data.details.peek()?.config ?? {}, null, 2), "the config") } }, "Copy")), list);

  const show = () => {
    const visible = visibleRows(rows, search.value, folded);
    const leaves = rows.filter((row) => !row.branch).length;
    const found = visible.filter((row) => !row.branch).length;
    count.textContent = search.value ? `${found} of ${plural(leaves, "key")}` : leaves ? plural(leaves, "key") : "";
    search.hidden = leaves < 2;
    if (!rows.length) {
      replace(list, h("p", { class: "muted card-empty" }, "No config. ", h("code", null, "tracker.init(config={…})"), " sets it."));
      return;
    }
    if (!visible.length) {
      replace(list, h("p", { class: "muted card-empty" }, `No key or value contains “${search.value}”.`));
      return;
    }
    const shown = all ? visible : visible.slice(0, MANY);
    replace(list, shown.map(rowOf), visible.length > shown.length
      ? h("button", { type: "button", class: "link", on: { click: () => { all = true; show(); } } }, `Show all ${plural(visible.length, "row")}`) : null);
  };

  const rowOf = (/** @type {import("./tree.js").Leaf} */ row) => {
    const indent = { "padding-left": `${12 + row.depth * 16}px` };
    if (row.branch) {
      const open = !folded.has(row.key) || search.value !== "";
      return h("div", { class: "tree-row branch", role: "row" }, h("span", { role: "cell", class: "tree-key", style: indent },
        h("button", { type: "button", class: "tree-fold", "aria-expanded": String(open), on: { click: (/** @type {MouseEvent} */ event) => {
          if (folded.has(row.key)) folded.delete(row.key);
          else folded.add(row.key);
          const { key } = row;
          show();
          if (event.detail === 0) /** @type {HTMLElement | null} */ ([...list.querySelectorAll(".tree-fold")].find((one) => /** @type {HTMLElement} */ (one).dataset.key === key) ?? null)?.focus();
        } }, data: { key: row.key } }, h("span", { "aria-hidden": "true" }, open ? "▾" : "▸"), " ", keyText(row.name))),
      h("span", { role: "cell", class: "tree-value muted" }, plural(row.size, "key")));
    }
    const value = valueText(row.value);
    return h("div", { class: "tree-row", role: "row" },
      h("span", { role: "cell", class: "tree-key", style: indent, title: row.key }, keyText(row.name)),
      h("span", { role: "cell" }, h("button", { type: "button", class: `tree-value kind-${kindOf(row.value)}`, title: `${value.slice(0, 2000)}\n(click to copy)`, "aria-label": `${row.key}: ${value.slice(0, 200)}. Copy`,
        on: { click: () => void copyText(typeof row.value === "string" ? row.value : value, row.key) } }, value.length > 400 ? `${value.slice(0, 400)}…` : value)));
  };

  const update = () => {
    const config = data.details.value?.config ?? {};
    const next = JSON.stringify(config);
    if (next === text) return;
    text = next;
    rows = rowsOf(config);
    show();
  };
  update();
  return data.details.subscribe(update);
}

/** @param {string} text */
function setSearch(text) {
  const { config: _, ...rest } = view.peek().options;
  change({ options: text ? { ...rest, config: text } : rest }, { undo: false, replace: true });
}
