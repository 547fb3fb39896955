/**
 * The head of the table: click sorts, shift-click adds a second key, drag moves a column, its right edge resizes it.
 */
import { h, replace } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { openMenu } from "../core/menu.js";
import { change, view } from "../core/state.js";
import { formatSort, parseSort } from "./arrange.js";
import { NARROWEST, isNumeric, shownColumns } from "./columns.js";
import { describe, parseCondition } from "./conditions.js";
import { openFilter } from "./filters.js";
import { openPicker } from "./picker.js";

/** @typedef {import("./columns.js").Column} Column */

/** How far a press must move before it drags, in pixels. */
const SLACK = 5;

/**
 * @param {HTMLElement} head the header row
 * @param {() => void} resized called while a column is resized
 */
export function fillHeader(head, resized) {
  const sort = parseSort(view.value.sort);
  const columns = shownColumns();
  replace(head, columns.map((column) => headerCell(column, columns, sort, resized)), h("div", { class: "th add", role: "columnheader" },
    h("button", { class: "icon", type: "button", title: "Choose columns", "aria-label": "Choose columns", on: { click: (/** @type {any} */ event) => openPicker(event.currentTarget) } }, "+")));
}

/**
 * @param {Column} column
 * @param {Column[]} columns
 * @param {import("./arrange.js").SortKey[]} sort
 * @param {() => void} resized
 */
function headerCell(column, columns, sort, resized) {
  const at = sort.findIndex((key) => key.column === column.name);
  const key = sort[at];
  const condition = parseCondition(view.value.filters[column.name] ?? "");
  const sign = key ? (key.descending ? "▾" : "▴") + (sort.length > 1 ? String(at + 1) : "") : "";
  const label = h("button", { class: "label", type: "button", tabindex: "-1", title: `${column.title}: click to sort, Shift-click for a second key` },
    h("bdi", null, column.label), sign ? h("span", { class: "sort", "aria-hidden": "true" }, sign) : null);
  const menu = h("button", {
    class: `more${condition ? " on" : ""}`, type: "button", tabindex: "-1", "aria-label": `Options of ${column.title}`, title: condition ? `${column.title} ${describe(condition)}` : "Options",
    on: { click: (/** @type {any} */ event) => openColumnMenu(event.currentTarget, column, columns) },
  }, icon(condition ? "filter" : "column"));
  const edge = h("div", { class: "edge", "aria-hidden": "true" });
  const cell = h("div", {
    class: `th${column.numeric ? " num" : ""}${column.kind === "name" ? " first" : ""}`, role: "columnheader", data: { column: column.name },
    "aria-sort": key ? (key.descending ? "descending" : "ascending") : "none",
    on: { contextmenu: (/** @type {MouseEvent} */ event) => { event.preventDefault(); openColumnMenu({ x: event.clientX, y: event.clientY }, column, columns); } },
  }, label, menu, edge);
  label.addEventListener("click", (event) => {
    if (event.detail === 0 || !cell.dataset.dragged) sortBy(column.name, event.shiftKey);
    delete cell.dataset.dragged;
  });
  if (column.kind !== "name") label.addEventListener("pointerdown", (event) => startMove(event, cell, column));
  edge.addEventListener("pointerdown", (event) => startResize(event, edge, column, resized));
  edge.addEventListener("dblclick", () => {
    const { [column.name]: _, ...widths } = view.value.widths;
    change({ widths });
  });
  return cell;
}

/**
 * @param {string} name
 * @param {boolean} [add] as a further key
 */
export function sortBy(name, add = false) {
  const keys = parseSort(view.value.sort);
  const key = keys.find((one) => one.column === name);
  // The first click shows what one looks for: the newest, the largest number, the first name.
  const descending = key ? !key.descending : isNumeric(name) || name.endsWith("_time");
  const next = { column: name, descending };
  change({ sort: formatSort(add ? [...keys.filter((one) => one.column !== name), next] : [next]) });
}

/**
 * @param {import("../core/menu.js").Anchor} anchor
 * @param {Column} column
 * @param {Column[]} columns
 */
function openColumnMenu(anchor, column, columns) {
  const { name } = column;
  const names = columns.map((one) => one.name);
  const at = names.indexOf(name);
  const { filters, group } = view.value;
  const grouped = group.includes(name);
  /** @param {number} by */
  const move = (by) => {
    const next = [...names];
    next.splice(at, 1);
    next.splice(at + by, 0, name);
    change({ columns: next });
  };
  openMenu(anchor, [
    { heading: column.title },
    { label: "Sort ascending", run: () => change({ sort: formatSort([{ column: name, descending: false }]) }) },
    { label: "Sort descending", run: () => change({ sort: formatSort([{ column: name, descending: true }]) }) },
    "-",
    { label: "Filter…", run: () => openFilter(anchor instanceof Element && anchor.isConnected ? anchor : headerOf(name) ?? anchor, column) },
    ...(filters[name] ? [{ label: "Remove the filter", run: () => removeFilter(name) }] : []),
    { label: grouped ? "Stop grouping by it" : "Group by it", run: () => change({ group: grouped ? group.filter((one) => one !== name) : [...group, name] }) },
    "-",
    { label: "Move left", disabled: at < 2, run: () => move(-1) },
    { label: "Move right", disabled: at === 0 || at === names.length - 1, run: () => move(1) },
    { label: "Hide", disabled: at === 0, run: () => change({ columns: names.filter((one) => one !== name) }) },
    { label: "Choose columns…", run: () => openPicker(headerOf(name) ?? anchor) },
  ], { label: `Options of ${column.title}` });
}

/** @param {string} name */
function headerOf(name) {
  return [...document.querySelectorAll(".th")].find((one) => /** @type {HTMLElement} */ (one).dataset.column === name) ?? null;
}

/** @param {string} name */
export function removeFilter(name) {
  const { [name]: _, ...filters } = view.value.filters;
  change({ filters });
}

/**
 * @param {PointerEvent} event
 * @param {HTMLElement} edge
 * @param {Column} column
 * @param {() => void} resized
 */
function startResize(event, edge, column, resized) {
  if (event.button !== 0) return;
  event.preventDefault();
  event.stopPropagation();
  edge.setPointerCapture(event.pointerId);
  const from = event.clientX;
  const move = (/** @type {PointerEvent} */ now) => {
    const width = Math.max(NARROWEST, Math.round(column.width + now.clientX - from));
    change({ widths: { ...view.value.widths, [column.name]: String(width) } });
    resized();
  };
  edge.addEventListener("pointermove", move);
  edge.addEventListener("lostpointercapture", () => edge.removeEventListener("pointermove", move), { once: true });
}

/**
 * @param {PointerEvent} event
 * @param {HTMLElement} cell
 * @param {Column} column
 */
function startMove(event, cell, column) {
  if (event.button !== 0) return;
  const label = /** @type {HTMLElement} */ (event.currentTarget);
  const from = event.clientX;
  label.setPointerCapture(event.pointerId);
  /** @type {HTMLElement | null} */
  let target = null;
  let after = false;
  const move = (/** @type {PointerEvent} */ now) => {
    if (!cell.dataset.dragged && Math.abs(now.clientX - from) < SLACK) return;
    cell.dataset.dragged = "1";
    cell.classList.add("dragged");
    target?.classList.remove("before", "after");
    target = /** @type {HTMLElement | null} */ (document.elementsFromPoint(now.clientX, cell.getBoundingClientRect().top + 4).find((one) => one.classList.contains("th") && /** @type {any} */ (one).dataset.column) ?? null);
    if (!target || target === cell) return;
    const { left, width } = target.getBoundingClientRect();
    after = now.clientX > left + width / 2 || target.classList.contains("first");
    target.classList.add(after ? "after" : "before");
  };
  const stop = () => {
    label.removeEventListener("pointermove", move);
    cell.classList.remove("dragged");
    target?.classList.remove("before", "after");
    const name = target?.dataset.column;
    if (!cell.dataset.dragged || !name || name === column.name) return;
    const names = shownColumns().map((one) => one.name).filter((one) => one !== column.name);
    names.splice(names.indexOf(name) + (after ? 1 : 0), 0, column.name);
    change({ columns: names });
  };
  label.addEventListener("pointermove", move);
  label.addEventListener("pointerup", stop, { once: true });
  label.addEventListener("pointercancel", stop, { once: true });
}
