/**
 * The filter of a column: text it contains, a range of numbers, a set of values with how often each occurs.
 */
import { h, replace } from "../core/dom.js";
import { number, whole } from "../core/format.js";
import { openPopover } from "../core/menu.js";
import { ensureColumns, runs } from "../core/runs.js";
import { change, view } from "../core/state.js";
import { tally } from "./arrange.js";
import { asText, formatCondition, parseCondition } from "./conditions.js";

/** Maximum number of listed values. */
const LIMIT = 200;
/** Numbers that differ more than this are shown by their distribution instead. */
const FEW = 24;
const BARS = 30;

/**
 * How numbers are distributed.
 * @param {number[]} values
 */
function bars(values) {
  const low = values.reduce((least, value) => Math.min(least, value), Infinity);
  const high = values.reduce((most, value) => Math.max(most, value), -Infinity);
  const counts = new Array(BARS).fill(0);
  for (const value of values) counts[Math.min(BARS - 1, Math.floor(((value - low) / (high - low || 1)) * BARS))] += 1;
  const top = Math.max(...counts, 1);
  return h("div", { class: "filter-bars", "aria-hidden": "true" }, counts.map((count, at) => h("span", {
    class: count ? "" : "empty-bar", title: `${number(low + ((high - low) / BARS) * at)} to ${number(low + ((high - low) / BARS) * (at + 1))}: ${whole(count)}`, style: { height: `${(100 * count) / top}%` },
  })));
}

/**
 * @param {import("../core/menu.js").Anchor} anchor
 * @param {import("./columns.js").Column} column
 */
export async function openFilter(anchor, column) {
  await ensureColumns([column.name]);
  const { columns, refs } = runs.peek();
  const values = columns.get(column.name) ?? [];
  const rows = refs.map((_, row) => row);
  const counts = tally(rows, values);
  const current = parseCondition(view.peek().filters[column.name] ?? "");
  const hasNumbers = counts.some(([value]) => typeof value === "number");
  const chosen = new Set(current?.kind === "set" ? current.values : []);

  /** @param {import("./conditions.js").Condition | null} condition */
  const put = (condition) => {
    const { [column.name]: _, ...others } = view.peek().filters;
    change({ filters: condition ? { ...others, [column.name]: formatCondition(condition) } : others });
  };

  const list = h("div", { class: "filter-list" });
  const text = h("input", {
    type: "search", placeholder: "Contains", "aria-label": `${column.title} contains`, value: current?.kind === "contains" ? current.text : "",
    on: { input: () => { chosen.clear(); put(text.value ? { kind: "contains", text: text.value } : null); show(); } },
  });
  const numbers = counts.map(([value]) => value).filter((value) => typeof value === "number" && Number.isFinite(value));
  /** @param {"low" | "high"} end */
  const bound = (end) => {
    const edge = numbers.reduce((a, b) => (end === "low" ? Math.min(a, b) : Math.max(a, b)), end === "low" ? Infinity : -Infinity);
    return h("input", {
      type: "text", inputmode: "decimal", placeholder: numbers.length ? number(edge) : "", "aria-label": end === "low" ? "At least" : "At most",
      value: current?.kind === "range" ? String(current[end] ?? "") : "", on: { input: () => range() },
    });
  };
  const [low, high] = [bound("low"), bound("high")];
  const range = () => {
    chosen.clear();
    for (const input of [low, high]) input.setAttribute("aria-invalid", String(input.value.trim() !== "" && !Number.isFinite(Number(input.value))));
    put(parseCondition(`${low.value.trim()}..${high.value.trim()}`));
    show();
  };

  const isContinuous = hasNumbers && counts.length > FEW;
  const show = () => {
    if (isContinuous) return void replace(list, bars(numbers.length ? values.filter((value) => typeof value === "number" && Number.isFinite(value)) : []), h("p", { class: "muted" }, `${whole(counts.length)} different values`));
    const wanted = text.value.toLowerCase();
    const fitting = counts.filter(([value]) => !wanted || (value !== null && asText(value).toLowerCase().includes(wanted)));
    replace(list, fitting.slice(0, LIMIT).map(([value, n]) => {
      const key = value === null ? "" : asText(value);
      return h("label", null, h("input", {
        type: "checkbox", checked: chosen.has(key), on: { change: (/** @type {any} */ event) => {
          if (event.target.checked) chosen.add(key);
          else chosen.delete(key);
          put(chosen.size ? { kind: "set", values: [...chosen] } : null);
        } },
      }), h("bdi", { class: "grow", title: value === null ? "" : asText(value) }, value === null ? h("span", { class: "muted" }, "missing") : typeof value === "number" ? number(value) : asText(value)), h("span", { class: "muted num" }, whole(n)));
    }), fitting.length > LIMIT ? h("p", { class: "muted" }, `and ${whole(fitting.length - LIMIT)} more values; type to find one`) : null);
  };
  show();
  openPopover(anchor, h("div", { class: "filter" }, h("div", { class: "filter-title" }, h("h3", { class: "grow" }, column.title),
    h("button", { class: "link", type: "button", on: { click: () => { chosen.clear(); text.value = ""; low.value = ""; high.value = ""; put(null); show(); } } }, "Clear")),
  hasNumbers ? h("div", { class: "filter-range" }, low, h("span", { class: "muted" }, "to"), high) : text, list), { label: `Filter ${column.title}` });
  (hasNumbers ? low : text).focus();
}
