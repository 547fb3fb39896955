/**
 * Parallel coordinates: an axis per column, a line per run; a range on an axis selects runs.
 */
import { colorOf } from "../core/colors.js";
import { h, replace, svg } from "../core/dom.js";
import { number, plural, shorten } from "../core/format.js";
import { openPopover } from "../core/menu.js";
import { highlighted } from "../core/runs.js";
import { change, view } from "../core/state.js";
import { isLogAxis, makeAxis, pathsOf, rampColor, withLogAxis } from "./axes.js";
import { brushesOf, passes, withBrush } from "./brush.js";
import { columnsOf, defaultAxes } from "./columns.js";
import { goalSign, paintMarks, runMark, valueWords, watchPicture } from "./marks.js";
import { option, setOption } from "./options.js";
import { openPictureMenu } from "./pictures.js";
import { fillSelect } from "./scatter.js";

const TOP = 40;
const BOTTOM = 18;
const SIDE = 70;
/** Narrowest distance between two axes; more of them scroll. */
const LEAST = 96;
/** Number of runs from which they are coloured by their result. */
const MANY_RUNS = 12;

/** @typedef {import("./columns.js").Column} Column */

/**
 * @param {HTMLElement} node
 * @param {{answer: import("../core/signal.js").Signal<import("./rows.js").Answer | null>}} context
 * @returns {() => void} ends it
 */
export function mountParallel(node, { answer }) {
  const choose = h("button", { type: "button", "aria-haspopup": "dialog", on: { click: () => openAxes() } }, "Axes ▾");
  const pickColor = h("select", { "aria-label": "Color", on: { change: () => setOption("pc", pickColor.value) } });
  const keep = h("button", { type: "button", class: "primary", on: { click: () => keepChosen() } });
  const reset = h("button", { type: "button", on: { click: () => setOption("brush", "") } }, "Clear ranges");
  const save = h("button", { type: "button", "aria-haspopup": "menu", on: { click: () => openPictureMenu(save, frame.querySelector("svg"), data.querySelector("table")) } }, "Download ▾");
  const data = h("div", { class: "sr" });
  const reading = h("p", { class: "scatter-reading", role: "status" });
  const frame = h("div", { class: "parallel-frame" });
  replace(node, h("div", { class: "compare-tools" }, choose, h("label", null, "color ", pickColor), h("span", { class: "muted parallel-hint" }, "Drag on an axis to select a range; click the range to remove it."), h("span", { class: "grow" }), reset, keep, save),
    h("div", { class: "card scatter-card" }, frame, reading), data);

  /** @type {Map<string, SVGElement>} */
  let lines = new Map();
  /** @type {Set<string>} */
  let chosen = new Set();
  /** @type {Column[]} */
  let columns = [];
  /** @type {string[]} */
  let axes = [];
  let drawing = false;

  const show = () => {
    const table = answer.value;
    if (!table || drawing) return;
    columns = columnsOf(table);
    const asked = option("axes");
    axes = (asked ? asked.split("\n") : defaultAxes(columns)).filter((id) => columns.some((column) => column.id === id));
    const shown = axes.map((id) => /** @type {Column} */ (columns.find((column) => column.id === id)));
    // Of many runs, colours of their own say nothing; the result does.
    const result = table.runs.length > MANY_RUNS ? [...shown].reverse().find((column) => column.goal) : undefined;
    const color = option("pc") === "run" ? undefined : (columns.find((column) => column.id === option("pc")) ?? result);
    fillSelect(pickColor, columns, color?.id ?? "run", "by run", "run");
    if (shown.length < 2) {
      replace(frame, h("div", { class: "empty" }, h("strong", null, columns.length < 2 ? "Too little differs between these runs" : "Choose two or more axes"), columns.length < 2 ? h("p", null, "Parallel coordinates need at least two keys with different values.") : null));
      keep.hidden = reset.hidden = save.hidden = true;
      replace(data);
      return;
    }
    const width = Math.max(frame.clientWidth, 2 * SIDE + (shown.length - 1) * LEAST);
    const height = Math.max(280, Math.min(620, innerHeight - 260));
    const brushes = brushesOf(option("brush"));
    const made = shown.map((column) => makeAxis(column.values, { log: isLogAxis(option("pl"), column), kind: column.kind, most: Math.floor(height / 48) }));
    const xOf = (/** @type {number} */ at) => SIDE + (at / (shown.length - 1)) * (width - 2 * SIDE);
    const yOf = (/** @type {number} */ share) => TOP + (1 - share) * (height - TOP - BOTTOM);
    chosen = new Set(table.runs.flatMap((run, index) => (shown.every((column, at) => passes(made[at]?.place(column.values[index]) ?? null, brushes[column.id])) ? [run.ref] : [])));
    const some = shown.some((column) => brushes[column.id]);
    keep.hidden = !some;
    save.hidden = false;
    reset.hidden = !some;
    keep.textContent = `Select ${plural(chosen.size, "run")}`;
    keep.disabled = chosen.size === 0;
    const colorAxis = color ? makeAxis(color.values) : null;
    const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Parallel coordinates of ${shown.map((column) => column.label).join(", ")}` });
    const paths = svg("g", { class: "parallel-lines" });
    lines = new Map();
    table.runs.forEach((run, index) => {
      const points = shown.flatMap((column, at) => {
        const share = made[at]?.place(column.values[index]) ?? null;
        return share === null ? [] : [{ at, text: `${xOf(at).toFixed(1)} ${yOf(share).toFixed(1)}` }];
      });
      const { path, across } = pathsOf(points);
      const share = color && colorAxis ? colorAxis.place(color.values[index]) : null;
      const stroke = color ? (share === null ? "var(--line-strong)" : rampColor(share)) : colorOf(run.ref).css;
      const label = `${run.name}: ${shown.map((column) => `${column.label} ${valueWords(column.values[index])}`).join(", ")}`;
      const line = runMark(run.ref, { class: `parallel-run${chosen.has(run.ref) ? "" : " out"}`, tabindex: chosen.has(run.ref) ? "0" : "-1", label },
        [svg("path", { class: "reach", d: path + across }), svg("path", { class: "stroke across", d: across, stroke }), svg("path", { class: "stroke", d: path, stroke, "stroke-width": run.ref === table.baseline ? "2.5" : "1.4" })]);
      lines.set(run.ref, line);
      paths.append(line);
    });
    root.append(paths);
    const room = (width - 2 * SIDE) / (shown.length - 1);
    shown.forEach((column, at) => root.append(axisOf(column, /** @type {import("./axes.js").Axis} */ (made[at]), xOf(at), { top: TOP, bottom: height - BOTTOM, room }, brushes[column.id] ?? null)));
    replace(frame, root);
    replace(data, h("table", null, h("caption", null, `Parallel coordinates of ${shown.map((column) => column.label).join(", ")}`),
      h("thead", null, h("tr", null, ["run", ...shown.map((column) => column.label)].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", null, table.runs.map((run, index) => h("tr", null, h("th", { scope: "row" }, run.name), shown.map((column) => h("td", null, valueWords(column.values[index], { most: 0, whole: true }))))))));
    paint(highlighted.peek());
  };

  /** What an axis is of; for numbers it also says whether it is logarithmic, and a click changes that. */
  const scaleButton = (/** @type {Column} */ column, /** @type {import("./axes.js").Axis} */ axis, /** @type {number} */ x) => {
    const words = `${column.group.toLowerCase()}${axis.note ? `, ${axis.note}` : ""}`;
    if (!column.number) return svg("text", { x, y: 28, "text-anchor": "middle", class: "plot-text" }, words);
    const flip = () => {
      setOption("brush", withBrush(option("brush"), column.id, null));
      setOption("pl", withLogAxis(option("pl"), column));
      /** @type {SVGElement | undefined} */ ([...frame.querySelectorAll(".axis-scale")].find((one) => /** @type {SVGElement} */ (one).dataset.axis === column.id))?.focus();
    };
    return svg("text", { x, y: 28, "text-anchor": "middle", class: "plot-text axis-scale", role: "button", tabindex: "0", "aria-pressed": String(axis.log), "aria-label": `Logarithmic axis of ${column.label}`, data: { axis: column.id }, on: {
      click: flip, keydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        event.stopPropagation();
        flip();
      },
    } }, svg("title", null, axis.log ? "Logarithmic; click for a linear axis" : "Linear; click for a logarithmic axis"), `${words}, ${axis.log ? "log" : "linear"}`);
  };

  const axisOf = (/** @type {Column} */ column, /** @type {import("./axes.js").Axis} */ axis, /** @type {number} */ x, /** @type {{top: number, bottom: number, room: number}} */ box, /** @type {[number, number] | null} */ range) => {
    const tall = box.bottom - box.top;
    const yOf = (/** @type {number} */ share) => box.bottom - share * tall;
    const most = Math.max(6, Math.floor(Math.min(box.room, 150) / 7));
    const group = svg("g", { class: "parallel-axis" },
      svg("text", { x, y: 14, "text-anchor": "middle", class: "axis-name" }, svg("title", null, column.id), shorten(column.label, columns.map((one) => one.label), most) + goalSign(column)),
      scaleButton(column, axis, x),
      svg("line", { x1: x, x2: x, y1: box.top, y2: box.bottom, class: "axis-line" }));
    let last = Infinity;
    for (const one of axis.ticks) {
      const y = yOf(one.at);
      if (last - y < 13) continue;
      last = y;
      group.append(svg("text", { x: x + 7, y: y + 4, class: "plot-text halo" }, shorten(one.label, [], Math.max(5, Math.floor((box.room - 16) / 7)))));
    }
    const mark = svg("rect", { x: x - 7, width: 14, y: 0, height: 0, class: "brush", visibility: "hidden" });
    const draw = (/** @type {[number, number] | null} */ at) => {
      mark.setAttribute("visibility", at ? "visible" : "hidden");
      if (!at) return;
      mark.setAttribute("y", String(yOf(at[1])));
      mark.setAttribute("height", String(Math.max(2, yOf(at[0]) - yOf(at[1]))));
    };
    draw(range);
    const words = range ? `from ${endWords(axis, range[0])} to ${endWords(axis, range[1])}` : "no range";
    const grip = svg("rect", { x: x - 14, y: box.top - 4, width: 28, height: tall + 8, class: "brush-grip", tabindex: "0", role: "slider", "aria-orientation": "vertical", "aria-label": `Range of ${column.label}`, "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": String(Math.round(100 * (range ? (range[0] + range[1]) / 2 : 0.5))), "aria-valuetext": words, data: { axis: column.id } });
    grip.addEventListener("pointerdown", (event) => {
      const frame_ = /** @type {SVGElement} */ (grip.ownerSVGElement).getBoundingClientRect();
      const share = (/** @type {PointerEvent} */ moved) => Math.max(0, Math.min(1, (box.bottom - (moved.clientY - frame_.top)) / tall));
      const start = share(event);
      let now = start;
      drawing = true;
      grip.setPointerCapture(event.pointerId);
      const move = (/** @type {PointerEvent} */ moved) => {
        now = share(moved);
        draw([Math.min(start, now), Math.max(start, now)]);
      };
      const up = () => {
        grip.removeEventListener("pointermove", move);
        drawing = false;
        setBrush(column.id, Math.abs(now - start) * tall < 4 ? null : [Math.min(start, now), Math.max(start, now)]);
        show();
      };
      grip.addEventListener("pointermove", move);
      grip.addEventListener("lostpointercapture", up, { once: true });
    });
    grip.addEventListener("keydown", (event) => {
      const by = event.key === "ArrowUp" ? 0.05 : event.key === "ArrowDown" ? -0.05 : 0;
      const at = range ?? [0, 1];
      if (event.key === "Delete" || event.key === "Backspace") setBrush(column.id, null);
      else if (event.key === " " || event.key === "Enter") setBrush(column.id, range ? null : [0.5, 1]);
      else if (by && event.shiftKey) setBrush(column.id, [at[0], Math.max(at[0] + 0.02, Math.min(1, at[1] + by))]);
      else if (by) setBrush(column.id, [Math.max(0, Math.min(1 - (at[1] - at[0]), at[0] + by)), Math.min(1, Math.max(at[1] - at[0], at[1] + by))]);
      else return;
      event.preventDefault();
      event.stopPropagation();
      /** @type {SVGElement | undefined} */ ([...frame.querySelectorAll(".brush-grip")].find((one) => /** @type {SVGElement} */ (one).dataset.axis === column.id))?.focus();
    });
    group.append(mark, grip);
    return group;
  };

  const setBrush = (/** @type {string} */ id, /** @type {[number, number] | null} */ range) => setOption("brush", withBrush(option("brush"), id, range));
  const keepChosen = () => {
    const refs = view.peek().runs.filter((ref) => chosen.has(ref));
    if (!refs.length) return;
    const { brush: _, ...options } = view.peek().options;
    change({ runs: refs, chosen: true, options });
  };

  const openAxes = () => {
    const boxes = columns.map((column) => {
      const box = h("input", { type: "checkbox", on: { change: () => {
        const next = box.checked ? [...axes, column.id] : axes.filter((id) => id !== column.id);
        setOption("axes", next.join("\n"));
      } } });
      box.checked = axes.includes(column.id);
      return h("label", { class: "check axis-choice", data: { name: column.id.toLowerCase() } }, box, h("span", { class: "grow", title: column.id }, column.label), h("span", { class: "muted" }, column.group.toLowerCase()));
    });
    const search = h("input", { type: "search", placeholder: "Search columns", "aria-label": "Search columns", on: { input: () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const box of boxes) box.hidden = !words.every((word) => (box.dataset.name ?? "").includes(word));
    } } });
    openPopover(choose, h("div", { class: "axis-choices" }, search, h("div", { class: "axis-list" }, boxes)), { label: "Axes" });
    search.focus();
  };

  const paint = (/** @type {string | null} */ ref) => {
    paintMarks(lines, ref);
    const table = answer.peek();
    const index = table?.runs.findIndex((run) => run.ref === ref) ?? -1;
    const run = table?.runs[index];
    reading.textContent = run ? `${run.name}: ${axes.map((id) => columns.find((column) => column.id === id)).map((column) => (column ? `${column.label} ${valueWords(column.values[index])}` : "")).join(", ")}`
      : `${plural(chosen.size, "run")}${table && chosen.size < table.runs.length ? ` of ${table.runs.length} in the ranges` : ""}.`;
  };
  return watchPicture(frame, answer, show, paint);
}

/**
 * @param {import("./axes.js").Axis} axis
 * @param {number} share
 */
function endWords(axis, share) {
  if (axis.kind === "number") return number(axis.value(share));
  const near = Math.max(0, Math.min(axis.ticks.length - 1, Math.round(axis.value(share))));
  return axis.ticks[near]?.label ?? "";
}
