/**
 * The summary of a run: for each metric its value, goal, smallest, largest and last value, and a small curve.
 */
import { api } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { keepEnd } from "../core/ends.js";
import { count as count_, exact, keyText, number, plural, shorten } from "../core/format.js";
import { palette, colorOf } from "../core/colors.js";
import { change } from "../core/state.js";
import { copyText } from "./copy.js";
import { sparkline, statistics } from "./spark.js";
import { metricRows } from "./metrics.js";

/** @typedef {import("./data.js").RunData} RunData */

/** Number of rows rendered at first; the others on demand. */
const MANY = 200;
/** Longest name of a metric; of a longer one, what tells it from the others is kept. */
const LONGEST = 60;
/** Curves asked for in one request. */
const BATCH = 60;
const BUCKETS = 96;

/**
 * @param {HTMLElement} node
 * @param {RunData} data
 * @returns {() => void} ends it
 */
export function mountSummary(node, data) {
  let all = false;
  const count = h("span", { class: "muted" });
  const search = h("input", { type: "search", placeholder: "Search metrics", "aria-label": "Search metrics", on: { input: () => show() } });
  const body = h("tbody");
  const table = h("table", { class: "summary-table" }, h("thead", null, h("tr", null,
    h("th", { scope: "col" }, "Metric"), h("th", { scope: "col", class: "spark-cell" }, h("span", { class: "sr" }, "Curve")), h("th", { scope: "col", class: "num" }, "Min"), h("th", { scope: "col", class: "num" }, "Max"), h("th", { scope: "col", class: "num" }, "Last"))), body);
  const rest = h("div", { class: "card-empty" });
  replace(node, h("header", { class: "card-head" }, h("h2", null, "Summary"), count, h("span", { class: "grow" }), search,
    h("button", { type: "button", title: "Copy the summary as JSON", on: { click: () => void copyText(JSON.stringify(data.details.peek()?.summary ?? {}, null, 2), "the summary") } }, "Copy")),
  h("div", { class: "scroll-x" }, table), rest);

  /** Rows on the page. @type {Map<string, {row: HTMLElement, cells: HTMLElement[], spark: HTMLElement, bad: HTMLElement, seen: boolean}>} */
  const made = new Map();
  /** @type {Map<string, any[]>} */
  const curves = new Map();
  const wanted = new Set();
  let asking = false;
  let closed = false;
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const one = made.get(/** @type {HTMLElement} */ (entry.target).dataset.key ?? "");
      if (!one) continue;
      one.seen = entry.isIntersecting;
      if (one.seen && !curves.has(/** @type {HTMLElement} */ (entry.target).dataset.key ?? "")) want(/** @type {HTMLElement} */ (entry.target).dataset.key ?? "");
    }
  });

  const want = (/** @type {string} */ key) => {
    wanted.add(key);
    if (!asking) {
      asking = true;
      queueMicrotask(ask);
    }
  };
  const ask = async () => {
    while (wanted.size && !closed) {
      const keys = [...wanted].slice(0, BATCH);
      for (const key of keys) wanted.delete(key);
      try {
        const series = await api.series({ x: "step", writers: "together", panels: keys.map((key) => ({ key, runs: [data.ref], count: BUCKETS })) });
        if (closed) return;
        for (const key of keys) {
          curves.set(key, series.filter((one) => one.key === key));
          fill(key);
        }
      } catch {
        break; // the values stay; the next change of the run asks again
      }
    }
    asking = false;
  };

  const fill = (/** @type {string} */ key) => {
    const one = made.get(key);
    const lines = curves.get(key);
    if (!one || !lines) return;
    const stats = statistics(lines);
    const [low, high, last] = one.cells;
    if (stats) {
      const close = stats.low !== stats.high && number(stats.low) === number(stats.high);
      put(low, stats.low, close);
      put(high, stats.high, close);
      put(last, stats.last, close);
      one.bad.textContent = stats.bad ? `${count_(stats.bad)} not finite` : "";
    }
    replace(one.spark, sparkline(lines, colorOf(data.ref).css, key));
  };

  const show = () => {
    const run = data.details.value;
    if (!run) return;
    const everything = metricRows(run, data.keys.value ?? []);
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = everything.filter((row) => words.every((word) => row.key.toLowerCase().includes(word)));
    search.hidden = everything.length < 8;
    count.textContent = everything.length ? (words.length ? `${rows.length} of ${plural(everything.length, "metric")}` : plural(everything.length, "metric")) : "";
    table.hidden = !rows.length;
    const shown = all ? rows : rows.slice(0, MANY);
    const keep = new Set(shown.map((row) => row.key));
    for (const [key, one] of made) if (!keep.has(key)) { observer.unobserve(one.row); made.delete(key); }
    const nodes = shown.map((row) => {
      let one = made.get(row.key);
      if (!one) {
        one = makeRow(row, shorten(keyText(row.key), row.key.length > LONGEST ? everything.map((other) => keyText(other.key)) : [], LONGEST));
        made.set(row.key, one);
        observer.observe(one.row);
      }
      const last = one.cells[2];
      if (row.kind === "histogram" || row.kind === "media") kindLink(last, row.kind);
      else if (!curves.get(row.key)?.length) put(last, row.value);
      return one.row;
    });
    if (nodes.length !== body.children.length || nodes.some((row, at) => body.children[at] !== row)) replace(body, nodes);
    replace(rest, rows.length > shown.length ? h("button", { type: "button", class: "link", on: { click: () => { all = true; show(); } } }, `Show all ${plural(rows.length, "metric")}`) : null,
      everything.length ? (rows.length ? null : `No metric name contains “${search.value}”.`)
        : h("span", { class: "muted" }, run.state === "running" ? "No metrics yet. They appear here within two seconds of run.log." : "No metrics were logged."));
    rest.hidden = !rest.childNodes.length;
  };

  const makeRow = (/** @type {import("./metrics.js").MetricRow} */ row, /** @type {string} */ label) => {
    const spark = h("div", { class: "spark" });
    const cells = ["Min", "Max", "Last"].map((label) => h("td", { class: "num", data: { label } }));
    const goal = row.goal ? h("span", { class: "goal", title: `Goal: ${row.goal}` }, row.goal === "maximize" ? "↑" : "↓") : null;
    const name = row.kind === "number"
      ? h("button", { type: "button", class: "metric-name", title: `${row.key}\n(click to open its chart)`, on: { click: () => openChart(row.key) } }, keepEnd(label))
      : h("span", { class: "metric-name", title: row.key }, keepEnd(label));
    const bad = h("span", { class: "not-finite" });
    const extra = row.aggregates.map(([name_, value]) => h("span", { class: "aggregate", title: `${name_}: ${exact(value)}` }, `${name_} ${number(value)}`));
    const element = h("tr", { data: { key: row.key } }, h("th", { scope: "row" }, h("div", { class: "metric-cell" }, name, goal, extra, bad)), h("td", { class: "spark-cell" }, spark), cells);
    return { row: element, cells, spark, bad, seen: false };
  };

  show();
  let version = "";
  const update = () => {
    const run = data.details.value;
    show();
    const next = `${run?.points} ${run?.last_time}`;
    if (version && next !== version) for (const [key, one] of made) if (one.seen) want(key);
    version = next;
  };
  update();
  const ends = [data.details.subscribe(update), data.keys.subscribe(show), palette.subscribe(() => curves.forEach((_, key) => fill(key)))];
  return () => {
    closed = true;
    observer.disconnect();
    ends.forEach((end) => end());
  };
}

/**
 * @param {HTMLElement | undefined} cell
 * @param {any} value
 * @param {boolean} [close] whether more digits are needed to tell it from others
 */
function put(cell, value, close = false) {
  if (!cell) return;
  const text = close && typeof value === "number" && Number.isFinite(value) ? String(Number(value.toPrecision(12))) : typeof value === "object" && value !== null ? "" : number(value === "NaN" ? NaN : value === "Infinity" ? Infinity : value === "-Infinity" ? -Infinity : value);
  if (cell.textContent !== text) cell.textContent = text.length > 60 ? `${text.slice(0, 59)}…` : text;
  cell.title = exact(value).slice(0, 500);
}

/**
 * @param {HTMLElement | undefined} cell
 * @param {string} kind
 */
function kindLink(cell, kind) {
  if (!cell || cell.firstChild) return;
  cell.append(h("button", { type: "button", class: "link", on: { click: () => change({ tab: "media" }) } }, kind));
}

/** @param {string} key */
function openChart(key) {
  change({ tab: "charts", search: key });
}
