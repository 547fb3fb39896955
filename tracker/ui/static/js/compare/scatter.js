/**
 * Runs as points: any two columns, log axes, coloured as everywhere or by a third column.
 */
import { colorOf } from "../core/colors.js";
import { h, replace, svg } from "../core/dom.js";
import { number, plural, shorten } from "../core/format.js";
import { highlighted } from "../core/runs.js";
import { makeAxis, rampColor } from "./axes.js";
import { columnsOf, defaultPair } from "./columns.js";
import { numeric } from "./delta.js";
import { goalSign, paintMarks, runMark, valueWords, watchPicture } from "./marks.js";
import { option, setOption } from "./options.js";
import { openPictureMenu } from "./pictures.js";

const RIGHT = 20;
const TOP = 16;
const BOTTOM = 44;
const RADIUS = 5;

/** @typedef {import("./columns.js").Column} Column */

/**
 * @param {HTMLElement} node
 * @param {{answer: import("../core/signal.js").Signal<import("./rows.js").Answer | null>}} context
 * @returns {() => void} ends it
 */
export function mountScatter(node, { answer }) {
  const pick = (/** @type {string} */ name, /** @type {string} */ label) => h("select", { "aria-label": label, on: { change: (/** @type {any} */ event) => setOption(name, event.target.value) } });
  const pickX = pick("sx", "x axis");
  const pickY = pick("sy", "y axis");
  const pickColor = pick("sc", "Color");
  const log = (/** @type {string} */ name, /** @type {string} */ label) => h("input", { type: "checkbox", "aria-label": label, on: { change: (/** @type {any} */ event) => setOption(name, event.target.checked ? "1" : "") } });
  const logX = log("slx", "log x");
  const logY = log("sly", "log y");
  const frame = h("div", { class: "scatter-frame" });
  const reading = h("p", { class: "scatter-reading", role: "status" });
  const legend = h("div", { class: "scatter-legend" });
  const data = h("div", { class: "sr" });
  const tools = h("div", { class: "compare-tools" }, h("label", null, "x ", pickX), h("label", { class: "check" }, logX, "log"), h("label", null, "y ", pickY), h("label", { class: "check" }, logY, "log"), h("label", null, "color ", pickColor), legend);
  replace(node, tools, h("div", { class: "card scatter-card" }, frame, reading), data);

  const save = h("button", { type: "button", "aria-haspopup": "menu", on: { click: () => openPictureMenu(save, frame.querySelector("svg"), data.querySelector("table")) } }, "Download ▾");
  tools.append(h("span", { class: "grow" }), save);

  /** @type {Map<string, SVGElement>} */
  let points = new Map();
  /** @type {(ref: string | null) => void} */
  let say = () => {};

  const show = () => {
    const table = answer.value;
    if (!table) return;
    const columns = columnsOf(table);
    const standard = defaultPair(columns);
    const byId = (/** @type {string} */ id, /** @type {string} */ fallback) => columns.find((column) => column.id === id) ?? columns.find((column) => column.id === fallback);
    const x = byId(option("sx"), standard.x);
    const y = byId(option("sy"), standard.y);
    const color = columns.find((column) => column.id === option("sc"));
    fillSelect(pickX, columns, x?.id ?? "");
    fillSelect(pickY, columns, y?.id ?? "");
    fillSelect(pickColor, columns, color?.id ?? "", "by run");
    logX.checked = option("slx") === "1";
    logY.checked = option("sly") === "1";
    logX.disabled = !x?.number;
    logY.disabled = !y?.number;
    save.hidden = !x || !y;
    if (!x || !y) {
      replace(frame, h("div", { class: "empty" }, h("strong", null, "Nothing to plot"), h("p", null, "The config and the summary of these runs do not differ.")));
      replace(data);
      return;
    }
    const width = frame.clientWidth;
    if (!width) return;
    const height = Math.max(260, Math.min(640, innerHeight - 260, width * 0.75));
    const axisY = makeAxis(y.values, { log: logY.checked, kind: y.kind, most: Math.max(3, Math.floor(height / 56)) });
    const labels = axisY.ticks.map((one) => shorten(one.label, [], 16));
    const left = Math.min(140, Math.max(44, Math.max(0, ...labels.map((label) => label.length)) * 7 + 16));
    const axisX = makeAxis(x.values, { log: logX.checked, kind: x.kind, most: Math.max(2, Math.floor((width - left) / 90)) });
    const place = (/** @type {number} */ index) => {
      const at = axisX.place(x.values[index]);
      const up = axisY.place(y.values[index]);
      return at === null || up === null ? null : { x: left + at * (width - left - RIGHT), y: TOP + (1 - up) * (height - TOP - BOTTOM) };
    };
    const colorAxis = color ? makeAxis(color.values) : null;
    const fill = (/** @type {number} */ index) => {
      if (!color || !colorAxis) return colorOf(/** @type {any} */ (table.runs[index]).ref).css;
      const share = colorAxis.place(color.values[index]);
      return share === null ? "var(--line-strong)" : rampColor(share);
    };
    points = new Map();
    const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Scatter of ${y.label} over ${x.label}` });
    const lines = svg("g", { class: "plot-lines" });
    const texts = svg("g", { class: "plot-texts" });
    let free = -Infinity;
    for (const one of axisX.ticks) {
      const at = left + one.at * (width - left - RIGHT);
      lines.append(svg("line", { x1: at, x2: at, y1: TOP, y2: height - BOTTOM }));
      const label = shorten(one.label, [], 14);
      if (at - label.length * 3.4 < free) continue;
      free = at + label.length * 3.4 + 8;
      texts.append(svg("text", { x: at, y: height - BOTTOM + 16, "text-anchor": "middle" }, label));
    }
    axisY.ticks.forEach((one, index) => {
      const at = TOP + (1 - one.at) * (height - TOP - BOTTOM);
      lines.append(svg("line", { x1: left, x2: width - RIGHT, y1: at, y2: at }));
      texts.append(svg("text", { x: left - 8, y: at + 4, "text-anchor": "end" }, labels[index] ?? ""));
    });
    texts.append(svg("text", { x: left + (width - left - RIGHT) / 2, y: height - 6, "text-anchor": "middle", class: "axis-name" }, shorten(`${x.label}${goalSign(x)}${axisX.note ? ` (${axisX.note})` : ""}`, [], 60)),
      svg("text", { x: left, y: 11, "text-anchor": "start", class: "axis-name" }, shorten(`${y.label}${goalSign(y)}${axisY.note ? ` (${axisY.note})` : ""}`, [], 60)));
    root.append(lines, texts);
    let missing = 0;
    table.runs.forEach((run, index) => {
      const at = place(index);
      if (!at) {
        missing += 1;
        return;
      }
      const part = (/** @type {Column} */ column) => `${column.label} ${valueWords(column.values[index], { most: 0 })}`;
      const link = runMark(run.ref, { class: "scatter-point", label: `${run.name}: ${[x, y, ...(color ? [color] : [])].map(part).join(", ")}` }, [
        svg("circle", { class: "reach", cx: at.x, cy: at.y, r: RADIUS + 6, fill: "transparent" }), svg("circle", { class: "dot", cx: at.x, cy: at.y, r: RADIUS, fill: fill(index) }),
        run.ref === table.baseline ? svg("circle", { cx: at.x, cy: at.y, r: RADIUS + 3.5, class: "baseline-ring" }) : null,
      ]);
      points.set(run.ref, link);
      root.append(link);
    });
    const left_ = missing ? `${plural(missing, "run is", "runs are")} not shown: no value${logX.checked || logY.checked ? ", or one that is not positive on a log axis" : ""}.` : `${plural(table.runs.length, "run")}.`;
    say = (ref) => {
      const index = table.runs.findIndex((run) => run.ref === ref);
      const run = table.runs[index];
      reading.textContent = run ? `${run.name}: ${x.label} ${exactText(x.values[index])}, ${y.label} ${exactText(y.values[index])}${color ? `, ${color.label} ${exactText(color.values[index])}` : ""}` : left_;
    };
    say(null);
    replace(frame, root);
    replace(legend, color && colorAxis ? legendOf(color, colorAxis) : null);
    replace(data, h("table", null, h("caption", null, `${y.label} over ${x.label}`), h("thead", null, h("tr", null, ["run", x.label, y.label].map((name) => h("th", { scope: "col" }, name)))), h("tbody", null, table.runs.map((run, index) => h("tr", null, h("th", { scope: "row" }, run.name), h("td", null, exactText(x.values[index])), h("td", null, exactText(y.values[index])))))));
    paint(highlighted.peek());
  };
  const paint = (/** @type {string | null} */ ref) => {
    paintMarks(points, ref);
    const lit = ref === null ? undefined : points.get(ref);
    // The one pointed at lies above the others; moving a focused element would take its focus.
    if (lit && lit !== document.activeElement) lit.parentElement?.append(lit);
    say(ref);
  };
  return watchPicture(frame, answer, show, paint);
}

/** @param {any} value */
const exactText = (value) => valueWords(value, { most: 0, whole: true });

/**
 * @param {HTMLSelectElement} select
 * @param {Column[]} columns
 * @param {string} chosen
 * @param {string} [none] label of an option for nothing
 * @param {string} [noneValue] its value
 */
export function fillSelect(select, columns, chosen, none, noneValue = "") {
  const list = columns.map((column) => column.id).join("\n");
  if (select.dataset.list !== list) {
    select.dataset.list = list;
    const groups = [...new Set(columns.map((column) => column.group))];
    replace(select, none === undefined ? null : h("option", { value: noneValue }, none), groups.map((group) => h("optgroup", { label: group },
      columns.filter((column) => column.group === group).map((column) => h("option", { value: column.id }, shorten(column.label, [], 48))))));
  }
  select.value = chosen;
}

/**
 * @param {Column} column
 * @param {import("./axes.js").Axis} axis
 * @returns {HTMLElement}
 */
function legendOf(column, axis) {
  if (axis.kind === "category") {
    return h("span", { class: "legend-list" }, axis.ticks.slice(0, 8).map((one) => h("span", null, h("span", { class: "legend-dot", style: { background: rampColor(one.at) } }), shorten(one.label, [], 16))));
  }
  const values = /** @type {number[]} */ (column.values.map((value) => numeric(value)).filter((value) => value !== null && Number.isFinite(value)));
  return h("span", { class: "legend-list" }, number(Math.min(...values)), h("span", { class: "legend-ramp", style: { background: `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map(rampColor).join(", ")})` } }), number(Math.max(...values)));
}
