/** Small panels of text series and histograms beside the charts; the page of a run shows them in full. */
import { api } from "../core/api.js";
import { colorOf } from "../core/colors.js";
import { h, replace } from "../core/dom.js";
import { plural, tick } from "../core/format.js";
import { addPanelKind } from "../core/registry.js";
import { changed, ensureColumns, runAt, runs as runTable, valueOf } from "../core/runs.js";
import { fillCells } from "../run/density.js";

/** Maximum number of runs whose texts are shown in a panel. */
const MOST_TEXTS = 20;
/** Columns of a small heatmap. */
const COLUMNS = 80;
/** Space for labels, in CSS pixels. */
const LEFT = 40, BOTTOM = 18, TOP = 6, RIGHT = 8;

/** Register the kinds. */
export function registerKinds() {
  addPanelKind({ kind: "text", mount: mountTexts });
  addPanelKind({ kind: "histogram", mount: mountHistogram });
}

/**
 * The last text of each run.
 * @param {HTMLElement} node
 * @param {{key: string, runs: string[]}} context
 * @returns {() => void} ends it
 */
function mountTexts(node, { key, runs }) {
  const column = `summary.${key}`;
  const show = () => {
    const rows = runs.slice(0, MOST_TEXTS).flatMap((ref) => {
      const text = valueOf(ref, column);
      return typeof text === "string" ? [h("div", { class: "kind-text" }, swatch(ref), h("div", null, h("div", { class: "kind-run" }, runAt(ref)?.name ?? ref), h("div", { class: "kind-value" }, text)))] : [];
    });
    replace(node, ...(rows.length ? rows : [h("div", { class: "panel-message" }, h("p", null, "No text yet."))]));
  };
  void ensureColumns([column]).then(show, () => {});
  return runTable.subscribe(show);
}

/**
 * Histograms over steps of the first run that has them.
 * @param {HTMLElement} node
 * @param {{key: string, runs: string[]}} context
 * @returns {() => void} ends it
 */
function mountHistogram(node, { key, runs }) {
  const canvas = h("canvas", { class: "kind-canvas", role: "img", "aria-label": `Histograms of ${key} over steps` });
  const foot = h("div", { class: "panel-foot" });
  replace(node, h("div", { class: "kind-histogram" }, canvas), foot);
  /** @type {import("../run/density.js").Histograms | null} */
  let data = null;
  let shown = "";
  let ended = false;
  const draw = () => data && drawHeatmap(canvas, data);
  const load = async () => {
    for (const ref of runs) {
      const answer = await api.get(`runs/${encodeURIComponent(ref)}/histograms`, { key, count: COLUMNS });
      if (ended) return;
      if (!answer?.steps.length) continue;
      data = answer;
      shown = ref;
      const others = runs.length > 1 ? `${runAt(ref)?.name ?? ref} of ${plural(runs.length, "run")}` : "";
      replace(foot, h("span", { class: "panel-points" }, [plural(answer.total, "histogram"), others].filter(Boolean).join(" · ")));
      draw();
      return;
    }
  };
  const fail = (/** @type {unknown} */ error) => {
    if (!ended && !data) replace(node, h("div", { class: "panel-message" }, h("p", null, `Could not be loaded: ${error instanceof Error ? error.message : error}`)));
  };
  void load().catch(fail);
  const sizes = new ResizeObserver(draw);
  sizes.observe(node);
  const end = changed.subscribe((refs) => {
    if (refs.has(shown || runs[0])) void load().catch(fail);
  });
  return () => {
    ended = true;
    end();
    sizes.disconnect();
  };
}

/** @param {string} ref */
function swatch(ref) {
  return h("span", { class: "kind-swatch", style: { background: colorOf(ref).css } });
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {import("../run/density.js").Histograms} data
 */
function drawHeatmap(canvas, data) {
  const width = canvas.clientWidth, height = canvas.clientHeight, ratio = devicePixelRatio || 1;
  const context = canvas.getContext("2d");
  if (!context || !width) return;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  context.fillStyle = style.getPropertyValue("--accent");
  const bottom = height - BOTTOM;
  const { low, high } = fillCells(context, data, { left: LEFT, right: width - RIGHT, top: TOP, bottom }, ratio);
  context.fillStyle = style.getPropertyValue("--muted");
  context.font = `11px ${style.fontFamily}`;
  context.textAlign = "right";
  const step = (high - low) / 10;
  context.fillText(tick(high, step), LEFT - 4, TOP + 9);
  context.fillText(tick(low, step), LEFT - 4, bottom);
  context.fillText(tick(data.steps[data.steps.length - 1], 1), width - RIGHT, height - 5);
  context.textAlign = "left";
  context.fillText(tick(data.steps[0], 1), LEFT, height - 5);
}
