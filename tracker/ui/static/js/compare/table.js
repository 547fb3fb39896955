/**
 * The table of differences: a row per key, a column per run, the baseline first, deltas colored by each metric's goal.
 */
import { colorOf, palette } from "../core/colors.js";
import { h, replace } from "../core/dom.js";
import { keepEnd } from "../core/ends.js";
import { keyText, plural, shorten, whole } from "../core/format.js";
import { openMenu } from "../core/menu.js";
import { highlighted } from "../core/runs.js";
import { change, view } from "../core/state.js";
import { copyText, download } from "../run/copy.js";
import { stateMark } from "../run/states.js";
import { csv, latex, markdown } from "./copy.js";
import { delta, orderBy, searchRows, sentence } from "./delta.js";
import { option, setOption } from "./options.js";
import { cellText, deltaText, sectionsOf, toTable } from "./rows.js";

/** Cells of a section that are made at first; the rest on demand. */
const CELLS = 5000;
const LEAST_ROWS = 15;
/** Longest key; of a longer one, what tells it from the others is kept. */
const LONGEST = 40;

/** @typedef {import("./rows.js").Answer} Answer */
/** @typedef {import("./rows.js").Section} Section */

/**
 * @param {HTMLElement} node
 * @param {{answer: import("../core/signal.js").Signal<Answer | null>}} context
 * @returns {() => void} ends it
 */
export function mountDifferences(node, { answer }) {
  /** Sections that are shown as a whole. @type {Set<string>} */
  const whole_ = new Set();
  const search = h("input", { type: "search", placeholder: "Search keys and values", "aria-label": "Search keys and values", on: { input: () => setOption("find", search.value) } });
  const all = h("input", { type: "checkbox", on: { change: () => setOption("all", all.checked ? "1" : "") } });
  const deltas = h("input", { type: "checkbox", on: { change: () => setOption("delta", deltas.checked ? "" : "0") } });
  const copy = h("button", { type: "button", "aria-haspopup": "menu", on: { click: () => openCopy() } }, "Copy ▾");
  const words = h("p", { class: "compare-sentence" });
  const grid = h("div", { class: "compare-scroll", tabindex: "0", role: "region", "aria-label": "Differences" });
  replace(node, words, h("div", { class: "compare-tools" }, search, h("label", { class: "check" }, all, "Include what is the same"), h("label", { class: "check" }, deltas, "Deltas from the baseline"), h("span", { class: "grow" }), copy), grid);
  /** @type {Section[]} */
  let sections = [];
  /** @type {number[]} */
  let order = [];
  let baseline = 0;

  const compute = (/** @type {Answer} */ data) => {
    sections = sectionsOf(data, option("all") === "1").map((section) => ({ ...section, rows: searchRows(section.rows, option("find")) }));
    baseline = Math.max(0, data.runs.findIndex((run) => run.ref === data.baseline));
    const by = option("by");
    const [sectionId, descending] = [by.split("|")[0] ?? "", by.endsWith("|desc")];
    const key = by.slice(sectionId.length + 1).replace(/\|desc$/, "");
    const row = by ? sectionsOf(data, true).find((section) => section.id === sectionId)?.rows.find((one) => one.key === key) : undefined;
    const sorted = row ? orderBy(row, descending) : data.runs.map((_, index) => index);
    order = [baseline, ...sorted.filter((index) => index !== baseline)];
  };

  const show = () => {
    const data = answer.value;
    if (!data) return;
    if (document.activeElement !== search) search.value = option("find");
    all.checked = option("all") === "1";
    deltas.checked = option("delta") !== "0";
    compute(data);
    const [one, other] = data.runs;
    words.hidden = data.runs.length !== 2;
    if (one && other && data.runs.length === 2) words.textContent = sentence(data.config, one.name, other.name);
    const { scrollTop, scrollLeft } = grid;
    const focus = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset?.focus;
    replace(grid, h("table", { class: "compare-table" }, headOf(data), sections.map((section) => bodyOf(data, section))));
    grid.scrollTop = scrollTop;
    grid.scrollLeft = scrollLeft;
    if (focus) /** @type {HTMLElement | undefined} */ ([...grid.querySelectorAll("[data-focus]")].find((element) => /** @type {HTMLElement} */ (element).dataset.focus === focus))?.focus({ preventScroll: true });
    paint(highlighted.peek());
  };

  const headOf = (/** @type {Answer} */ data) => {
    const names = data.runs.map((run) => run.name);
    return h("thead", null, h("tr", null, h("td", { class: "corner" }), order.map((index) => {
      const run = /** @type {import("./rows.js").ComparedRun} */ (data.runs[index]);
      const base = index === baseline;
      return h("th", { scope: "col", class: base ? "baseline" : "", data: { run: run.ref } },
        h("div", { class: "compare-run" }, h("span", { class: "run-swatch", style: { background: colorOf(run.ref).css }, "aria-hidden": "true" }), stateMark(run.state, { word: false }),
          h("a", { href: `#/run/${encodeURIComponent(run.ref)}`, title: `${run.name}\n${run.id}${run.reason ? `\n${run.reason}` : ""}`, data: { focus: `name ${run.ref}` }, on: { click: (/** @type {MouseEvent} */ event) => {
            if (event.ctrlKey || event.metaKey || event.shiftKey) return;
            event.preventDefault();
            change({ page: "run", ref: run.ref, tab: "" });
          } } }, shorten(run.name, names, 24))),
        h("div", { class: "compare-run-tools" },
          base ? h("span", { class: "baseline-mark" }, "baseline") : h("button", { type: "button", class: "link quiet", data: { focus: `base ${run.ref}` }, "aria-label": `Make ${run.name} the baseline`, on: { click: () => change({ baseline: run.ref }) } }, "make baseline"),
          h("button", { type: "button", class: "link quiet", "aria-label": `Leave ${run.name} out`, title: "Leave it out", on: { click: () => change({ runs: view.peek().runs.filter((ref) => ref !== run.ref), chosen: true }) } }, "✕")));
    })));
  };

  const bodyOf = (/** @type {Answer} */ data, /** @type {Section} */ section) => {
    const limit = whole_.has(section.id) ? Infinity : Math.max(LEAST_ROWS, Math.floor(CELLS / data.runs.length));
    const rows = section.rows.slice(0, limit);
    const count = section.total - section.rows.length;
    const note = !section.total ? "none" : !section.rows.length ? (option("find") ? "no matches" : `the same in all runs (${plural(section.total, "key")})`)
      : count > 0 && !option("find") ? `${whole(section.rows.length)} of ${plural(section.total, "key")} differ` : plural(section.rows.length, "key");
    return h("tbody", null, h("tr", { class: "compare-section" }, h("th", { scope: "rowgroup", colspan: String(order.length + 1) }, h("span", null, section.title, h("span", { class: "muted" }, note)))),
      rows.map((row) => rowOf(data, section, row)),
      section.rows.length > rows.length ? h("tr", null, h("td", { colspan: String(order.length + 1) }, h("button", { type: "button", class: "link", on: { click: () => { whole_.add(section.id); show(); } } }, `Show all ${plural(section.rows.length, "key")}`))) : null);
  };

  const rowOf = (/** @type {Answer} */ data, /** @type {Section} */ section, /** @type {import("./delta.js").Row} */ row) => {
    const id = `${section.id}|${row.key}`;
    const by = option("by");
    const sorted = by === id ? "ascending" : by === `${id}|desc` ? "descending" : "";
    const next = sorted === "ascending" ? `${id}|desc` : sorted === "descending" ? "" : id;
    const goal = row.goal ? h("span", { class: "goal", title: `Goal: ${row.goal}` }, row.goal === "maximize" ? "↑" : "↓") : null;
    return h("tr", { class: row.differs ? "" : "same" }, h("th", { scope: "row" }, h("span", { class: "compare-key" },
      h("button", { type: "button", class: "metric-name", data: { focus: `key ${id}` }, title: `${row.key}\n(click to sort the runs by it)`, on: { click: () => setOption("by", next) } }, keepEnd(shorten(keyText(row.key), row.key.length > LONGEST ? section.rows.map((other) => keyText(other.key)) : [], LONGEST)), sorted ? (sorted === "ascending" ? " →" : " ←") : ""),
      goal, row.aggregate && row.aggregate !== "last" ? h("span", { class: "aggregate" }, row.aggregate) : null)),
    order.map((index) => {
      const run = /** @type {import("./rows.js").ComparedRun} */ (data.runs[index]);
      const cell = cellText(section.id, row, index, data.now);
      const best = row.best?.includes(index) ?? false;
      const change_ = section.id === "summary" && index !== baseline && deltas.checked ? delta(row.values[index], row.values[baseline], row.goal) : null;
      const content = section.id === "run" && row.key === "state" ? stateMark(cell.text) : cell.text;
      return h("td", { class: [index === baseline ? "baseline" : "", best ? "best" : "", cell.missing ? "missing" : ""].join(" ").trim(), title: cell.title + (best ? "\nthe best" : ""), data: { run: run.ref } },
        h("span", { class: "value" }, content, best ? h("span", { class: "best-mark", role: "img", "aria-label": "best" }, "★") : null),
        change_ ? h("span", { class: `compare-delta ${change_.verdict}`, title: change_.verdict === "unknown" ? "Set define_metric(goal=…) to color deltas" : change_.verdict }, deltaText(change_)) : null);
    }));
  };

  const openCopy = () => {
    const data = answer.peek();
    if (!data) return;
    const table = toTable(data, sections, order, baseline, { deltas: deltas.checked });
    const plain = toTable(data, sections, order, baseline, { deltas: false });
    openMenu(copy, [
      { label: "As Markdown", run: () => void copyText(markdown(table), "the table as Markdown") },
      { label: "As LaTeX", run: () => void copyText(latex(table), "the table as LaTeX") },
      { label: "As CSV", run: () => void copyText(csv(plain), "the table as CSV") },
      { label: "Download CSV", run: () => download(csv(plain), "comparison.csv", "text/csv") },
    ], { label: "Copy the table" });
  };

  const paint = (/** @type {string | null} */ ref) => {
    for (const cell of grid.querySelectorAll(".lit")) cell.classList.remove("lit");
    if (ref) for (const cell of /** @type {NodeListOf<HTMLElement>} */ (grid.querySelectorAll("thead [data-run]"))) if (cell.dataset.run === ref) cell.classList.add("lit");
  };
  grid.addEventListener("pointerover", (event) => {
    const cell = /** @type {HTMLElement} */ (event.target).closest("[data-run]");
    highlighted.value = cell ? /** @type {HTMLElement} */ (cell).dataset.run ?? null : null;
  });
  grid.addEventListener("pointerleave", () => (highlighted.value = null));

  let shown = view.peek();
  show();
  const ends = [answer.subscribe(show), palette.subscribe(show), highlighted.subscribe(paint), view.subscribe((next) => {
    if (JSON.stringify(next.options) !== JSON.stringify(shown.options)) show();
    shown = next;
  })];
  return () => {
    ends.forEach((end) => end());
    highlighted.value = null;
  };
}
