/**
 * The table of runs: head, pinned baseline, rows, footer. Fills the grid from the model and answers the pointer.
 */
import { palette } from "../core/colors.js";
import { h, replace } from "../core/dom.js";
import { plural, whole } from "../core/format.js";
import { columnInfos, ensureColumns, highlighted, matching, runs } from "../core/runs.js";
import { queryResult } from "../core/query.js";
import { view } from "../core/state.js";
import { current, bindTable, fallbackAnchor, open, openRowMenu, openSelectMenu, toggle } from "./actions.js";
import { cellTitle, fillCard, fillCell, fillGroupCell, setLink } from "./cells.js";
import { shownColumns, standardColumns, watchColumns } from "./columns.js";
import { editField } from "./editing.js";
import { Grid } from "./grid.js";
import { fillHeader } from "./header.js";
import { arrangement, setSelected, toggleGroup } from "./model.js";
import { mountEmpty } from "./empty.js";

/**
 * @typedef {import("./grid.js").RowNode} RowNode
 * @typedef {import("./columns.js").Column} Column
 * @typedef {import("./model.js").Entry} Entry
 */

const ROW = 27;
const CARD = 52;
/** How often relative times are written again, in milliseconds. */
const CLOCK = 15_000;

/**
 * Set an attribute, unless it has this value: rows are filled again whenever anything may have changed.
 * @param {HTMLElement} node
 * @param {string} name
 * @param {string} value
 */
function put(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/**
 * @param {HTMLElement} node
 * @returns {() => void} ends it
 */
export function mountTable(node) {
  const narrow = matchMedia("(max-width: 720px)");
  const header = h("div", { class: "tr head", role: "row", "aria-rowindex": "1" });
  const pinned = h("div", { class: "pinned", role: "rowgroup" });
  const head = h("div", { class: "thead", role: "presentation" }, h("div", { role: "rowgroup" }, header), pinned);
  const scroller = h("div", { class: "runs-table", role: "grid", tabindex: "0", "aria-label": "Runs", "aria-multiselectable": "true" });
  const empty = h("div", { class: "table-empty" });
  const foot = h("div", { class: "table-foot" });
  /** @type {Column[]} */
  let columns = shownColumns();
  let chosen = new Set(view.value.runs);
  let cause = -1;
  /** @type {string[]} */
  let keysBefore = [];

  const isCards = () => narrow.matches;
  const isFolded = () => view.value.fold || view.value.page === "charts";
  const cellColumns = () => (isCards() || isFolded() ? columns.slice(0, 1) : columns);
  const entries = () => arrangement.value.entries;
  const idOf = (/** @type {Entry} */ entry) => (entry.kind === "run" ? entry.ref : entry.key);

  /** @returns {RowNode} */
  const make = () => {
    const cells = cellColumns().map((column) => h("div", { class: `td ${column.kind}${column.numeric ? " num" : ""}`, role: "gridcell" }));
    if (isCards()) cells.push(h("div", { class: "td details", role: "gridcell" }));
    return { node: h("div", { class: "tr", role: "row" }, cells), cells, index: -1, version: -1 };
  };

  /** @param {RowNode} row @param {Entry} entry @param {string} id */
  const fillRow = (row, entry, id) => {
    const shown = cellColumns();
    const { node } = row;
    put(node, "id", id);
    const isRun = entry.kind === "run";
    const on = isRun && chosen.has(entry.ref);
    put(node, "class", `tr${isRun ? "" : " group"}${on ? " on" : ""}${isRun && entry.ref === current.value ? " current" : ""}${idOf(entry) === highlighted.value ? " hot" : ""}`);
    put(node, "aria-selected", String(on));
    const withState = !shown.some((column) => column.kind === "state");
    shown.forEach((column, at) => {
      const cell = /** @type {HTMLElement} */ (row.cells[at]);
      if (isRun) fillCell(cell, at === 0 && isFolded() ? { ...column, width: 208 } : at === 0 && isCards() ? { ...column, width: innerWidth - 20 } : column, entry, on, withState);
      else fillGroupCell(cell, column, entry, entry.group.rows.filter((one) => chosen.has(/** @type {string} */ (runs.peek().refs[one]))).length);
    });
    if (isCards()) fillCard(/** @type {HTMLElement} */ (row.cells.at(-1)), columns, entry);
  };

  node.append(scroller, empty, foot);
  const grid = new Grid(scroller, head, {
    size: () => entries().length, make,
    fill: (row, index) => {
      const entry = entries()[index];
      if (!entry) return;
      put(row.node, "aria-rowindex", String(index + 2));
      fillRow(row, entry, `row-${index}`);
    },
  });

  const showPinned = () => {
    const { baseline } = view.value;
    const index = runs.value.index.get(baseline);
    if (index === undefined) return void replace(pinned);
    const row = make();
    row.node.classList.add("baseline");
    fillRow(row, { kind: "run", ref: baseline, row: index }, "row-baseline");
    row.node.classList.add("baseline");
    replace(pinned, row.node);
  };

  const showColumns = () => {
    columns = shownColumns();
    void ensureColumns(columns.map((column) => column.name)).catch(() => undefined);
    grid.rowHeight = isCards() ? CARD : ROW;
    node.classList.toggle("cards", isCards());
    scroller.style.setProperty("--columns", isCards() ? "minmax(0, 1fr)" : isFolded() ? "minmax(0, 1fr)" : `${columns.map((column) => `${column.width}px`).join(" ")} minmax(36px, 1fr)`);
    scroller.style.setProperty("--total", isCards() || isFolded() ? "0px" : `${columns.reduce((sum, column) => sum + column.width, 36)}px`);
    scroller.style.setProperty("--row", `${grid.rowHeight}px`);
    scroller.setAttribute("aria-colcount", String(cellColumns().length));
    header.hidden = isCards() || isFolded();
    fillHeader(header, () => undefined);
  };

  let layoutKey = "";
  const showView = () => {
    const { columns: wanted, widths, sort, filters, baseline, group, fold, page, theme, runs: list, chosen: _ } = view.value;
    chosen = new Set(list);
    const next = JSON.stringify([wanted, widths, sort, filters, baseline, group.length, fold, page === "charts", standardColumns.value, columnInfos.value.length, isCards()]);
    if (next !== layoutKey) {
      const before = columns.map((column) => column.name + column.kind + column.numeric).join() + isFolded() + isCards();
      layoutKey = next;
      showColumns();
      showPinned();
      if (rebuilt !== columns.map((column) => column.name + column.kind + column.numeric).join() + isFolded() + isCards()) grid.rebuild();
      else if (before) grid.layout();
      rebuilt = columns.map((column) => column.name + column.kind + column.numeric).join() + isFolded() + isCards();
    }
    void theme;
    showFoot();
    grid.refresh();
  };
  let rebuilt = "";

  const showFoot = () => {
    const { refs } = arrangement.value;
    const total = runs.value.refs.length;
    const selectedAll = view.value.runs.filter((ref) => runs.value.index.has(ref));
    const hidden = matching.value ? selectedAll.filter((ref) => !matching.value?.has(ref)).length : 0;
    const parts = [plural(total, "run")];
    if (matching.value) parts.push(`${whole(refs.length)} ${refs.length === 1 ? "matches" : "match"}`);
    parts.push(`${whole(selectedAll.length)} selected${hidden ? `, ${whole(hidden)} of them filtered out` : ""}`);
    const text = parts.join(", ");
    if (footText.textContent !== text) footText.textContent = text;
    footText.title = text;
    selectButton.textContent = isFolded() ? "▾" : "Select ▾";
    scroller.setAttribute("aria-rowcount", String(entries().length + 1));
  };
  const footText = h("span", { class: "grow" });
  const selectButton = h("button", { class: "plain", type: "button", "aria-label": "Select runs", "aria-haspopup": "menu", on: { click: () => openSelectMenu(selectButton) } }, "Select ▾");
  foot.append(footText, selectButton);

  const showData = () => {
    const { cause: now } = arrangement.value;
    const keys = entries().map(idOf);
    const moved = keys.length !== keysBefore.length || keys.some((key, at) => key !== keysBefore[at]);
    if (now !== cause) {
      cause = now;
      scroller.scrollTop = 0;
    } else if (moved && scroller.scrollTop > 0) {
      // New runs above what one looks at must not push it away.
      const first = grid.first;
      const at = keys.indexOf(/** @type {string} */ (keysBefore[first]));
      if (at >= 0 && at !== first) {
        keysBefore = keys;
        grid.refreshNow();
        scroller.scrollTop += (at - first) * grid.rowHeight;
      }
    }
    keysBefore = keys;
    showPinned();
    showFoot();
    grid.refresh();
  };

  const entryAt = (/** @type {EventTarget | null} */ target) => {
    const row = target instanceof Element ? target.closest(".tr") : null;
    if (!row || row === header) return null;
    if (row.id === "row-baseline") return /** @type {Entry} */ ({ kind: "run", ref: view.value.baseline, row: runs.value.index.get(view.value.baseline) ?? 0 });
    return entries()[Number(row.id.slice(4))] ?? null;
  };

  const cellOf = (/** @type {string} */ ref, /** @type {string} */ name) => {
    const index = entries().findIndex((entry) => entry.kind === "run" && entry.ref === ref);
    if (index < 0) return fallbackAnchor();
    grid.reveal(index);
    grid.refreshNow();
    const row = grid.rowOf(index);
    const at = Math.max(0, cellColumns().findIndex((column) => column.name === name));
    return row?.cells[at] ?? fallbackAnchor();
  };

  scroller.addEventListener("click", (event) => {
    const entry = entryAt(event.target);
    const target = /** @type {Element} */ (event.target);
    if (!entry) return;
    if (entry.kind === "group") {
      if (target.closest(".swatch") || event.altKey || event.ctrlKey || event.metaKey) {
        const refs = entry.group.rows.map((row) => /** @type {string} */ (runs.value.refs[row]));
        setSelected(refs, !refs.every((ref) => chosen.has(ref)));
      } else toggleGroup(entry.key);
      return;
    }
    if (target.closest(".more")) {
      current.value = entry.ref;
      openRowMenu(/** @type {Element} */ (target.closest(".more")), entry.ref, (field) => cellOf(entry.ref, field));
    } else if (target.closest("a.name")) {
      if (event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      if (event.shiftKey) toggle(entry.ref, { range: true });
      else open(entry.ref);
    } else {
      toggle(entry.ref, { range: event.shiftKey });
    }
  });
  scroller.addEventListener("mousedown", (event) => {
    if (event.shiftKey) event.preventDefault(); // no text is to be selected
  });
  scroller.addEventListener("dblclick", (event) => {
    const entry = entryAt(event.target);
    const cell = /** @type {Element} */ (event.target).closest(".td");
    if (!cell || entry?.kind !== "run" || /** @type {Element} */ (event.target).closest("button, a")) return;
    const field = cell.classList.contains("tags") ? "tags" : cell.classList.contains("name") ? "name" : null;
    const at = [...(cell.parentElement?.children ?? [])].indexOf(cell);
    const name = cellColumns()[at]?.name === "notes" ? "notes" : field;
    if (name) editField(cell, entry.ref, /** @type {any} */ (name));
  });
  scroller.addEventListener("contextmenu", (event) => {
    const entry = entryAt(event.target);
    if (entry?.kind !== "run") return;
    event.preventDefault();
    current.value = entry.ref;
    openRowMenu({ x: event.clientX, y: event.clientY }, entry.ref, (field) => cellOf(entry.ref, field));
  });
  scroller.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    const entry = entryAt(event.target);
    highlighted.value = entry ? idOf(entry) : null;
    if (entry?.kind !== "run" || !(event.target instanceof Element)) return;
    // What is only needed under the pointer is not made for each row that scrolls by.
    const link = event.target.closest("a.name");
    if (link instanceof HTMLAnchorElement) setLink(link, entry.ref);
    const cell = event.target.closest(".td");
    const column = cellColumns()[[...(cell?.parentElement?.children ?? [])].indexOf(/** @type {Element} */ (cell))];
    if (cell instanceof HTMLElement && column) cell.title = cellTitle(column, entry);
  });
  scroller.addEventListener("pointerleave", () => (highlighted.value = null));
  scroller.addEventListener("keydown", (event) => {
    if (event.target !== scroller || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    move(to);
  });

  /** @param {number} by */
  const move = (by) => {
    const all = entries();
    const refs = all.flatMap((entry, index) => (entry.kind === "run" ? [{ ref: entry.ref, index }] : []));
    const at = refs.findIndex((one) => one.ref === current.value);
    const next = refs[Math.max(0, Math.min(refs.length - 1, at < 0 ? (by > 0 ? 0 : refs.length - 1) : at + by))];
    if (!next) return;
    current.value = next.ref;
    highlighted.value = next.ref;
    grid.reveal(next.index);
  };
  bindTable({ move, cellOf, page: () => grid.page });

  const showMarks = () => {
    for (const row of grid.shown) {
      const entry = entries()[row.index];
      const ref = entry?.kind === "run" ? entry.ref : null;
      row.node.classList.toggle("hot", entry !== undefined && idOf(entry) === highlighted.value);
      row.node.classList.toggle("current", ref !== null && ref === current.value);
    }
    const index = entries().findIndex((entry) => entry.kind === "run" && entry.ref === current.value);
    if (index >= 0) scroller.setAttribute("aria-activedescendant", `row-${index}`);
    else scroller.removeAttribute("aria-activedescendant");
  };

  const endEmpty = mountEmpty(empty, scroller, foot);
  const clock = setInterval(() => {
    if (!document.hidden) grid.refresh();
  }, CLOCK);
  const ends = [
    view.subscribe(showView), standardColumns.subscribe(showView), columnInfos.subscribe(showView), arrangement.subscribe(showData), palette.subscribe(() => grid.refresh()),
    highlighted.subscribe(showMarks), current.subscribe(showMarks), matching.subscribe(showFoot), queryResult.subscribe(showFoot),
  ];
  narrow.addEventListener("change", showView);
  showView();
  const endWatch = watchColumns();

  return () => {
    ends.forEach((end) => end());
    endEmpty();
    endWatch();
    clearInterval(clock);
    narrow.removeEventListener("change", showView);
    grid.release();
    node.replaceChildren();
  };
}
