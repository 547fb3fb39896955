/**
 * The choice of columns: a searchable list, those that differ first.
 */
import { h, replace } from "../core/dom.js";
import { plural, whole } from "../core/format.js";
import { openPopover } from "../core/menu.js";
import { score } from "../core/palette.js";
import { columnInfos, loadColumnInfos } from "../core/runs.js";
import { change, view } from "../core/state.js";
import { columnLabel, differing, shownColumns } from "./columns.js";

/** Rows listed. */
const LIMIT = 300;

/** @param {import("../core/menu.js").Anchor} anchor */
export function openPicker(anchor) {
  void loadColumnInfos().then(() => show(), () => undefined);
  const list = h("div", { class: "filter-list tall" });
  const search = h("input", { type: "search", placeholder: "Search columns", "aria-label": "Search columns", on: { input: () => show() } });
  const popover = h("div", { class: "filter picker" }, h("div", { class: "filter-title" }, h("h3", { class: "grow" }, "Columns"),
    h("button", { class: "link", type: "button", on: { click: () => { change({ columns: null, widths: {} }); show(); } } }, "Reset")), search, list);
  openPopover(anchor, popover, { label: "Columns" });
  show();
  search.focus();

  function show() {
    const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const on = new Set(shownColumns().map((column) => column.name));
    const varied = new Set(differing.value);
    const all = columnInfos.value.filter((one) => one.name !== "name" && (!words.length || score(`${one.name} ${columnLabel(one.name)}`.toLowerCase(), words) > 0));
    /** @type {[string, import("../core/runs.js").ColumnInfo[]][]} */
    const sections = [
      ["Config that differs", all.filter((one) => varied.has(one.name))],
      ["Metrics", all.filter((one) => one.kind === "summary")],
      ["Fields", all.filter((one) => one.kind === "field")],
      ["Config that is the same", all.filter((one) => one.kind === "config" && !varied.has(one.name))],
    ];
    let room = LIMIT;
    replace(list, sections.flatMap(([title, infos]) => {
      const part = infos.slice(0, Math.max(0, room));
      room -= part.length;
      if (!part.length) return [];
      return [h("div", { class: "menu-heading" }, title), ...part.map((one) => h("label", null,
        h("input", { type: "checkbox", checked: on.has(one.name), on: { change: (/** @type {any} */ event) => toggle(one.name, event.target.checked) } }),
        h("bdi", { class: "grow", title: one.name }, one.kind === "field" ? columnLabel(one.name) : one.name.replace(/^(config|summary)\./, "")),
        one.kind === "field" ? null : h("span", { class: "muted num", title: `${plural(one.runs, "run")} have it` }, whole(one.runs))))];
    }), all.length > LIMIT ? h("p", { class: "muted" }, `and ${whole(all.length - LIMIT)} more; type to find one`) : null,
    all.length === 0 ? h("p", { class: "muted" }, words.length ? `No column is called “${search.value.trim()}”.` : "No columns yet.") : null);
  }
}

/**
 * @param {string} name
 * @param {boolean} on
 */
function toggle(name, on) {
  const names = shownColumns().map((column) => column.name);
  change({ columns: on ? [...names, name] : names.filter((one) => one !== name) });
}
