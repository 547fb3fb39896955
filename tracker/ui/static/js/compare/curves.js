/**
 * Where the curves of two runs part: for each metric the first step at which they differ, with a link to the chart there.
 */
import { api } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { number, plural, whole } from "../core/format.js";
import { openMenu } from "../core/menu.js";
import { change, view } from "../core/state.js";
import { copyText } from "../run/copy.js";
import { csv, escapeMarkdown, latex, markdown } from "./copy.js";
import { sentence } from "./delta.js";
import { option, setOption } from "./options.js";
import { ordered, summaryOf, zoomAround } from "./splits.js";

/** @typedef {import("./splits.js").Split} Split */
/** @typedef {import("./splits.js").Curve} Curve */

/**
 * @param {HTMLElement} node
 * @param {{answer: import("../core/signal.js").Signal<import("./rows.js").Answer | null>}} context
 * @returns {() => void} ends it
 */
export function mountCurves(node, { answer }) {
  const pickBase = h("select", { "aria-label": "First run", on: { change: () => setOption("from", pickBase.value) } });
  const pick = h("select", { "aria-label": "Second run", on: { change: () => setOption("with", pick.value) } });
  const words = h("p", { class: "compare-sentence", role: "status" });
  const progress = h("progress", { "aria-label": "Curves compared" });
  const body = h("tbody");
  const note = h("p", { class: "muted" });
  const table = h("table", { class: "plain-table curves-table" }, h("thead", null, h("tr", null,
    ["Metric", "First difference", "Clear difference", "Values there", "Compared"].map((name, at) => h("th", { scope: "col", class: at === 1 || at === 2 || at === 4 ? "num" : "" }, name)), h("th", { scope: "col" }, h("span", { class: "sr" }, "Chart")))), body);
  const copy = h("button", { type: "button", "aria-haspopup": "menu", on: { click: () => openCopy() } }, "Copy ▾");
  replace(node, words, h("div", { class: "compare-tools" }, pickBase, h("span", null, "and"), pick, progress, h("span", { class: "grow" }), copy),
    h("div", { class: "card" }, h("div", { class: "scroll-x" }, table)), note);
  /** @type {Curve[]} */
  let curves = [];
  let asked = "";
  /** @type {AbortController | null} */
  let request = null;
  let done = true;

  /** The two runs: those that were chosen, else the baseline and the first of the others. */
  const pair = () => {
    const data = answer.peek();
    const runs = data?.runs ?? [];
    const first = runs.find((run) => run.ref === option("from")) ?? runs.find((run) => run.ref === data?.baseline) ?? runs[0];
    const others = runs.filter((run) => run !== first);
    return { first, other: others.find((run) => run.ref === option("with")) ?? others[0] };
  };

  /**
   * @param {HTMLSelectElement} select
   * @param {import("./rows.js").ComparedRun[]} runs
   * @param {string} ref
   */
  const fill = (select, runs, ref) => {
    const list = runs.map((run) => `${run.ref} ${run.name}`).join("\n");
    if (select.dataset.list !== list) {
      select.dataset.list = list;
      replace(select, runs.map((run) => h("option", { value: run.ref }, run.ref === answer.peek()?.baseline ? `${run.name} (baseline)` : run.name)));
    }
    select.value = ref;
  };

  const show = () => {
    const data = answer.value;
    const { first, other } = pair();
    if (!data || !first || !other) return;
    fill(pickBase, data.runs, first.ref);
    fill(pick, data.runs.filter((run) => run !== first), other.ref);
    const key = `${first.ref} ${other.ref} ${first.points} ${other.points}`;
    if (key !== asked) {
      const same = asked.startsWith(`${first.ref} ${other.ref} `);
      asked = key;
      void load(first.ref, other.ref, same);
    } else {
      list_();
    }
  };

  const load = async (/** @type {string} */ baseline, /** @type {string} */ other, /** @type {boolean} */ quietly) => {
    request?.abort();
    const own = (request = new AbortController());
    /** @type {Curve[]} */
    const found = [];
    /** @type {{key: string | null, message: string}[]} */
    const errors = [];
    if (!quietly) {
      curves = [];
      done = false;
      list_();
    }
    let skip = 0;
    try {
      for (;;) {
        const part = await api.post("compare", { runs: [baseline, other], baseline, curves: true, skip }, { signal: own.signal });
        found.push(...part.curves);
        errors.push(...part.errors);
        progress.max = part.total || 1;
        progress.value = part.done;
        if (!quietly) {
          curves = found;
          list_();
        }
        if (part.next === null) break;
        skip = part.next;
      }
      curves = found;
      done = true;
      note.textContent = errors.map((error) => `${error.key ?? "A run"}: ${error.message}`).join(" ");
    } catch (error) {
      if (own.signal.aborted) return;
      done = true;
      note.textContent = /** @type {Error} */ (error).message;
    }
    list_();
  };

  const list_ = () => {
    const data = answer.peek();
    const { first, other } = pair();
    if (!data || !first || !other) return;
    progress.hidden = done;
    const sorted = ordered(curves);
    words.textContent = summaryOf(sorted, done);
    if (data.runs.length === 2 && done) words.textContent = `${sentence(data.config, data.runs[0]?.name ?? "", data.runs[1]?.name ?? "")} ${words.textContent}`;
    copy.disabled = !curves.length;
    replace(body, sorted.map((curve) => {
      const at = curve.clear ?? curve.exact;
      const step = (/** @type {Split | null} */ split) => (split ? whole(split.step) : "");
      return h("tr", null, h("th", { scope: "row", title: curve.key }, curve.key),
        h("td", { class: "num" }, !curve.common ? h("span", { class: "muted" }, "no step in common") : curve.exact ? `step ${step(curve.exact)}` : h("span", { class: "good" }, "none")),
        h("td", { class: "num" }, curve.clear ? `step ${step(curve.clear)}` : curve.exact ? h("span", { class: "muted" }, "never by 1 %") : ""),
        h("td", { class: "num-list" }, at ? `${number(asNumber(at.baseline))} and ${number(asNumber(at.value))}` : ""),
        h("td", { class: "num" }, curve.common ? `${plural(curve.common, "step")}${curve.clear ? " up to there" : ""}` : ""),
        h("td", null, h("a", { href: "#", on: { click: (/** @type {Event} */ event) => { event.preventDefault(); openChart(curve, first.ref, other); } } }, at ? "Open there" : "Open")));
    }));
    table.hidden = !sorted.length;
  };

  const openChart = (/** @type {Curve} */ curve, /** @type {string} */ baseline, /** @type {import("./rows.js").ComparedRun} */ other) => {
    const at = curve.clear ?? curve.exact;
    const last = Math.max(0, ...(answer.peek()?.runs ?? []).filter((run) => run.ref === baseline || run.ref === other.ref).map((run) => run.step ?? 0));
    change({ page: "charts", runs: [...new Set([baseline, other.ref, ...view.peek().runs])], chosen: true, x: "step", full: curve.key, zoom: at ? zoomAround(at.step, last) : null });
  };

  const openCopy = () => {
    const table_ = {
      caption: words.textContent ?? "",
      head: ["metric", "first difference (step)", "clear difference (step)", "baseline", "value", "steps compared"],
      rows: ordered(curves).map((curve) => {
        const at = curve.clear ?? curve.exact;
        return [curve.key, curve.exact ? String(curve.exact.step) : "", curve.clear ? String(curve.clear.step) : "", at ? String(at.baseline) : "", at ? String(at.value) : "", String(curve.common)];
      }),
    };
    openMenu(copy, [
      { label: "As Markdown", run: () => void copyText(`${escapeMarkdown(table_.caption)}\n\n${markdown(table_)}`, "the list as Markdown") },
      { label: "As LaTeX", run: () => void copyText(latex(table_), "the list as LaTeX") },
      { label: "As CSV", run: () => void copyText(csv(table_), "the list as CSV") },
    ], { label: "Copy the list" });
  };

  show();
  const options = () => `${option("from")} ${option("with")}`;
  let shown = options();
  const ends = [answer.subscribe(show), view.subscribe(() => {
    if (options() === shown) return;
    shown = options();
    show();
  })];
  return () => {
    request?.abort();
    ends.forEach((end) => end());
  };
}

/** @param {any} value */
function asNumber(value) {
  return value === "NaN" ? NaN : value === "Infinity" ? Infinity : value === "-Infinity" ? -Infinity : value;
}
