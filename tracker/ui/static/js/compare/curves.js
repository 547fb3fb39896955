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
  const pick = h("select", { "aria-label": "Run that is compared with the baseline", on: { change: () => setOption("with", pick.value) } });
  const base = h("strong");
  const words = h("p", { class: "compare-sentence", role: "status" });
  const progress = h("progress", { "aria-label": "Curves compared" });
  const body = h("tbody");
  const note = h("p", { class: "muted" });
  const table = h("table", { class: "plain-table curves-table" }, h("thead", null, h("tr", null,
    ["Metric", "First difference", "Clear difference", "Values there", "Compared"].map((name, at) => h("th", { scope: "col", class: at === 1 || at === 2 || at === 4 ? "num" : "" }, name)), h("th", { scope: "col" }, h("span", { class: "sr" }, "Chart")))), body);
  const copy = h("button", { type: "button", "aria-haspopup": "menu", on: { click: () => openCopy() } }, "Copy ▾");
  replace(node, words, h("div", { class: "compare-tools" }, h("span", null, base, " and "), pick, progress, h("span", { class: "grow" }), copy),
    h("div", { class: "card" }, h("div", { class: "scroll-x" }, table)), note);
  /** @type {Curve[]} */
  let curves = [];
  let asked = "";
  /** @type {AbortController | null} */
  let request = null;
  let done = true;

  const chosen = () => {
    const data = answer.peek();
    const others = (data?.runs ?? []).filter((run) => run.ref !== data?.baseline);
    return others.find((run) => run.ref === option("with")) ?? others[0];
  };

  const show = () => {
    const data = answer.value;
    const other = chosen();
    if (!data || !other) return;
    const baseline = data.runs.find((run) => run.ref === data.baseline);
    base.textContent = baseline?.name ?? "";
    base.title = baseline?.id ?? "";
    const runs = data.runs.filter((run) => run.ref !== data.baseline);
    const list = runs.map((run) => run.ref).join();
    if (pick.dataset.list !== list) {
      pick.dataset.list = list;
      replace(pick, runs.map((run) => h("option", { value: run.ref }, run.name)));
    }
    pick.value = other.ref;
    const key = `${data.baseline} ${other.ref} ${baseline?.points} ${other.points}`;
    if (key !== asked) {
      const same = asked.startsWith(`${data.baseline} ${other.ref} `);
      asked = key;
      void load(data.baseline, other.ref, same);
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
    const other = chosen();
    if (!data || !other) return;
    progress.hidden = done;
    const baseline = data.runs.find((run) => run.ref === data.baseline);
    const sorted = ordered(curves);
    words.textContent = summaryOf(sorted, done);
    if (data.runs.length === 2 && done) words.textContent = `${sentence(data.config, baseline?.name ?? "", other.name)} ${words.textContent}`;
    copy.disabled = !curves.length;
    replace(body, sorted.map((curve) => {
      const at = curve.clear ?? curve.exact;
      const step = (/** @type {Split | null} */ split) => (split ? whole(split.step) : "");
      return h("tr", null, h("th", { scope: "row", title: curve.key }, curve.key),
        h("td", { class: "num" }, !curve.common ? h("span", { class: "muted" }, "no step in common") : curve.exact ? `step ${step(curve.exact)}` : h("span", { class: "good" }, "none")),
        h("td", { class: "num" }, curve.clear ? `step ${step(curve.clear)}` : curve.exact ? h("span", { class: "muted" }, "never by 1 %") : ""),
        h("td", { class: "num-list" }, at ? `${number(asNumber(at.baseline))} and ${number(asNumber(at.value))}` : ""),
        h("td", { class: "num" }, curve.common ? `${plural(curve.common, "step")}${curve.clear ? " up to there" : ""}` : ""),
        h("td", null, h("a", { href: "#", on: { click: (/** @type {Event} */ event) => { event.preventDefault(); openChart(curve, data.baseline, other); } } }, at ? "Open there" : "Open")));
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
  let shown = option("with");
  const ends = [answer.subscribe(show), view.subscribe(() => {
    if (option("with") === shown) return;
    shown = option("with");
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
