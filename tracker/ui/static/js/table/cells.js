/**
 * What stands in a cell: a run's name with its colour and state, numbers with the difference to the baseline, tags, groups.
 */
import { colorOf } from "../core/colors.js";
import { h, replace, svg } from "../core/dom.js";
import { fillKeepEnd, keepEnd } from "../core/ends.js";
import { exact, moment, number, plural } from "../core/format.js";
import { icon } from "../core/icons.js";
import { runs, valueOf } from "../core/runs.js";
import { serialize, view } from "../core/state.js";
import { spread } from "./arrange.js";
import { cellText, columnLabel, exactText, stateSign } from "./columns.js";
import { goalOf } from "./model.js";

/**
 * @typedef {import("./columns.js").Column} Column
 * @typedef {import("./model.js").Entry} Entry
 * @typedef {import("./model.js").GroupEntry} GroupEntry
 * @typedef {import("./model.js").RunEntry} RunEntry
 */

/** What each cell shows now, so that only changed cells are updated. @type {WeakMap<HTMLElement, string>} */
const shown = new WeakMap();

/**
 * @param {HTMLElement} cell
 * @param {string} signature
 * @returns {boolean} whether the cell must be filled
 */
function differs(cell, signature) {
  if (shown.get(cell) === signature) return false;
  shown.set(cell, signature);
  return true;
}

/**
 * @param {HTMLElement} cell
 * @param {Column} column
 * @param {RunEntry} entry
 * @param {boolean} isSelected
 * @param {boolean} withState whether the name carries the state
 */
export function fillCell(cell, column, entry, isSelected, withState) {
  const value = runs.peek().columns.get(column.name)?.[entry.row] ?? null;
  if (column.kind === "name") return fillName(cell, column, entry.ref, isSelected, withState);
  if (column.kind === "state") return fillState(cell, value);
  if (column.kind === "tags") return fillTags(cell, value);
  const text = cellText(column, value);
  const change = delta(column, entry.ref, value);
  if (!differs(cell, change ? `${text}|${change.text}|${change.kind}` : text)) return;
  if (change) replace(cell, h("span", { class: `delta ${change.kind}` }, change.text), h("span", null, text));
  else cell.textContent = text;
}

/**
 * The full text of a cell, shown on hover.
 * @param {Column} column
 * @param {RunEntry} entry
 * @returns {string}
 */
export function cellTitle(column, entry) {
  const value = runs.peek().columns.get(column.name)?.[entry.row] ?? null;
  if (column.kind === "name") return "";
  const reason = column.kind === "state" ? valueOf(entry.ref, "reason") : null;
  const change = delta(column, entry.ref, value);
  return exactText(column, value) + (reason ? `: ${reason}` : "") + (change ? `\n${change.title}` : "");
}

/**
 * The difference of a value to the baseline's.
 * @param {Column} column
 * @param {string} ref
 * @param {any} value
 */
function delta(column, ref, value) {
  const { baseline } = view.peek();
  if (!baseline || baseline === ref || !column.name.startsWith("summary.") || typeof value !== "number") return null;
  const base = valueOf(baseline, column.name);
  if (typeof base !== "number" || !Number.isFinite(base) || !Number.isFinite(value)) return null;
  const difference = value - base;
  const goal = goalOf(column.name);
  const kind = difference === 0 || !goal ? "" : (difference > 0) === (goal === "maximize") ? "good" : "bad";
  const sign = difference > 0 ? "+" : "";
  const share = (difference / Math.abs(base)) * 100;
  const text = difference === 0 ? "=" : base !== 0 && Math.abs(share) < 1000 ? `${sign}${percent(share)} %` : `${sign}${number(Number(difference.toPrecision(3)))}`;
  const words = kind === "good" ? ", better" : kind === "bad" ? ", worse" : "";
  return { text, kind, title: `${sign}${exact(difference)} against the baseline's ${exact(base)}${words}` };
}

/** @param {number} share */
function percent(share) {
  const size = Math.abs(share);
  return (size >= 100 ? share.toFixed(0) : size >= 0.95 ? share.toFixed(1) : String(Number(share.toPrecision(1)))).replace("-", "\u2212");
}

/**
 * Parts of a cell that holds a name: made once, since rows are reused with each scrolled line.
 * @typedef {{swatch: HTMLElement, dash: SVGLineElement, sign: HTMLElement, link: HTMLAnchorElement, text: HTMLElement, pin: HTMLElement, more: HTMLElement}} NameParts
 */

/** @type {WeakMap<HTMLElement, NameParts>} */
const nameParts = new WeakMap();

/**
 * @param {HTMLElement} cell
 * @returns {NameParts}
 */
function partsOf(cell) {
  const before = nameParts.get(cell);
  if (before && before.link.parentElement === cell) return before;
  const { swatch, dash } = makeSwatch();
  const text = keepEnd("");
  const parts = {
    swatch, dash, sign: h("span", { class: "sign", role: "img" }), link: h("a", { class: "name", tabindex: "-1", draggable: "false" }, text), text,
    pin: h("span", { class: "flag", title: "The baseline" }, icon("flag")), more: h("button", { class: "more", type: "button", tabindex: "-1", title: "Actions" }, icon("more")),
  };
  replace(cell, swatch, parts.sign, parts.link, parts.pin, parts.more);
  nameParts.set(cell, parts);
  return parts;
}

/** @returns {{swatch: HTMLElement, dash: SVGLineElement}} */
function makeSwatch() {
  const dash = svg("line", { x1: "1", y1: "7", x2: "13", y2: "7", class: "swatch-dash" });
  const swatch = h("button", { class: "swatch", type: "button", tabindex: "-1", role: "checkbox" });
  swatch.append(svg("svg", { viewBox: "0 0 14 14", width: "14", height: "14", "aria-hidden": "true" }, svg("rect", { x: "1", y: "1", width: "12", height: "12", rx: "3", class: "swatch-box" }), dash));
  return { swatch, dash };
}

/**
 * @param {{swatch: HTMLElement, dash: SVGLineElement}} parts
 * @param {import("../core/colors.js").LineStyle} style
 * @param {boolean | "mixed"} on
 * @param {string} name what is shown in charts
 */
function paintSwatch({ swatch, dash: line }, { css, dash }, on, name) {
  swatch.className = `swatch${on ? " on" : ""}${dash.length ? " dashed" : ""}`;
  swatch.style.setProperty("--run", css);
  swatch.setAttribute("aria-checked", String(on));
  swatch.setAttribute("aria-label", `Show ${name} in charts`);
  swatch.title = on === true ? "Shown in charts; click to hide" : on ? "Partly shown in charts; click to show all" : "Click to show in charts";
  if (dash.length) line.setAttribute("stroke-dasharray", dash.map((n) => n * 0.6).join(" "));
}

/** The address of a run's page, made once for each view: its parts before and behind the ref. */
let linkOf = { view: view.peek(), before: "", behind: "" };

/** @param {string} ref */
function runLink(ref) {
  if (linkOf.view !== view.peek() || linkOf.before === "") {
    const [before = "", ...behind] = serialize({ ...view.peek(), page: "run", ref: "~~", tab: "" }).split("~~");
    linkOf = { view: view.peek(), before, behind: behind.join("~~") };
  }
  return linkOf.before + encodeURIComponent(ref) + linkOf.behind;
}

/**
 * @param {HTMLElement} cell
 * @param {Column} column
 * @param {string} ref
 * @param {boolean} isSelected
 * @param {boolean} withState
 */
function fillName(cell, column, ref, isSelected, withState) {
  const name = String(valueOf(ref, "name") ?? ref);
  const state = String(valueOf(ref, "state") ?? "");
  const { css, dash } = colorOf(ref);
  const isBaseline = view.peek().baseline === ref;
  if (!differs(cell, `name|${ref}|${name}|${state}|${css}|${dash}|${isSelected}|${withState}|${isBaseline}`)) return;
  const parts = partsOf(cell);
  paintSwatch(parts, { css, dash }, isSelected, name);
  parts.sign.hidden = !withState;
  if (withState) {
    parts.sign.className = `sign ${state}`;
    parts.sign.title = state;
    parts.sign.setAttribute("aria-label", state);
    parts.sign.textContent = stateSign(state);
  }
  fillKeepEnd(parts.text, name);
  parts.link.title = name;
  parts.pin.hidden = !isBaseline;
  parts.more.setAttribute("aria-label", `Actions for ${name}`);
}

/**
 * Set the address of a row's link when it is about to be used: it changes with the view.
 * @param {HTMLAnchorElement} link
 * @param {string} ref
 */
export function setLink(link, ref) {
  link.href = runLink(ref);
}

/**
 * @param {HTMLElement} cell
 * @param {any} value
 */
function fillState(cell, value) {
  const state = String(value ?? "");
  if (!differs(cell, `state|${state}`)) return;
  replace(cell, h("span", { class: `sign ${state}`, "aria-hidden": "true" }, stateSign(state)), ` ${state}`);
}

/**
 * @param {HTMLElement} cell
 * @param {any} value
 */
function fillTags(cell, value) {
  const tags = Array.isArray(value) ? value.map(String) : [];
  if (!differs(cell, `tags|${tags.join("\u0000")}`)) return;
  replace(cell, tags.map((tag) => h("bdi", { class: "chip" }, tag)));
}

/**
 * A row of a group: what its runs share, how many they are, and the mean of numbers.
 * @param {HTMLElement} cell
 * @param {Column} column
 * @param {GroupEntry} entry
 * @param {number} selected how many of its runs are selected
 */
export function fillGroupCell(cell, column, entry, selected) {
  const { group, folded } = entry;
  if (column.kind === "name") {
    const names = view.peek().group;
    const pairs = group.values.map((value, at) => [`${columnLabel(names[at] ?? "").replace(/^(config|summary)\./, "")} = `, (value === null ? "none" : cellText({ ...column, kind: "value" }, value)) + (at + 1 < group.values.length ? ", " : "")]);
    const label = pairs.flat().join("");
    const style = colorOf(group.key);
    if (!differs(cell, `group|${label}|${folded}|${group.rows.length}|${selected}|${style.css}|${style.dash}`)) return;
    cell.title = `${label}: ${selected ? `${selected} of ` : ""}${plural(group.rows.length, "run")}${selected ? " shown in charts" : ""}`;
    const parts = makeSwatch();
    paintSwatch(parts, style, selected === group.rows.length || (selected > 0 && "mixed"), label);
    replace(cell, h("button", { class: "twist", type: "button", tabindex: "-1", "aria-expanded": String(!folded), "aria-label": folded ? "Unfold the group" : "Fold the group" }, folded ? "▸" : "▾"),
      parts.swatch, h("span", { class: "group-label" }, pairs.map((pair) => h("span", { class: "ends" }, pair.map((text) => h("bdi", null, text))))), h("span", { class: "muted count" }, selected ? `${selected}/${group.rows.length}` : String(group.rows.length)));
    return;
  }
  const values = runs.peek().columns.get(column.name) ?? [];
  if (!column.numeric && column.kind !== "moment") {
    const [first] = group.rows;
    const same = first !== undefined && group.rows.every((row) => JSON.stringify(values[row] ?? null) === JSON.stringify(values[first] ?? null));
    const text = same && column.kind !== "tags" ? cellText(column, values[/** @type {number} */ (first)]) : "";
    if (!differs(cell, `common|${text}`)) return;
    cell.title = text;
    cell.textContent = text;
    return;
  }
  const { n, mean, std } = spread(group.rows, values);
  const text = n === 0 || column.kind === "moment" ? "" : cellText(column, round(mean));
  const around = text && n > 1 && std > 0 ? `±${cellText(column, round(std, 2))}` : "";
  if (!differs(cell, `mean|${text}|${around}|${n}`)) return;
  cell.title = text ? `mean of ${plural(n, "run")}: ${exact(mean)}${n > 1 ? `, standard deviation ${exact(std)}` : ""}` : "";
  if (around) replace(cell, h("span", null, text), " ", h("span", { class: "muted" }, around));
  else cell.textContent = text;
}

/**
 * @param {number} value
 * @param {number} [digits]
 */
function round(value, digits = 4) {
  return Number.isFinite(value) ? Number(value.toPrecision(digits)) : value;
}

/**
 * The second line of a card: what the columns say, in short.
 * @param {HTMLElement} cell
 * @param {Column[]} columns
 * @param {Entry} entry
 */
export function fillCard(cell, columns, entry) {
  if (entry.kind === "group") {
    if (differs(cell, "")) cell.textContent = "";
    return;
  }
  // Results first, since a narrow card cuts the end.
  const ordered = [...columns.filter((column) => column.name.startsWith("summary.")), ...columns.filter((column) => !column.name.startsWith("summary."))];
  const parts = ordered.filter((column) => !["name", "state", "tags"].includes(column.kind)).flatMap((column) => {
    const text = cellText(column, runs.peek().columns.get(column.name)?.[entry.row] ?? null);
    return text ? [column.kind === "moment" || column.kind === "duration" ? text : `${column.label} ${text}`] : [];
  });
  const state = String(valueOf(entry.ref, "state") ?? "");
  const text = [...(state === "finished" ? [] : [state]), ...parts].join(" · ");
  if (!differs(cell, `card|${text}`)) return;
  cell.title = moment(valueOf(entry.ref, "start_time"));
  cell.textContent = text;
}
