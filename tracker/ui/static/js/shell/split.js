/**
 * The divider between table and charts: drag, arrow keys, double click or the button folds the table.
 */
import { h } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { change, view } from "../core/state.js";

const NARROWEST = 180;
/** Below this a drag folds the table. */
const FOLDS_AT = 120;
const CHARTS_LEAST = 320;
const STEP = 24;

/**
 * @param {HTMLElement} divider
 * @param {HTMLElement} split
 */
export function mountDivider(divider, split) {
  const fold = h("button", { class: "fold", type: "button", on: { click: () => change({ fold: !view.value.fold }) } });
  for (const [name, value] of Object.entries({ role: "separator", tabindex: "0", "aria-orientation": "vertical", "aria-label": "Width of the table" })) {
    divider.setAttribute(name, value);
  }
  split.append(fold);

  const standard = () => Math.round(Math.max(NARROWEST, Math.min(split.clientWidth * 0.4, 720)));
  const width = () => (view.value.split || standard());
  const limit = (/** @type {number} */ wanted) => Math.max(NARROWEST, Math.min(wanted, split.clientWidth - CHARTS_LEAST));
  const show = () => {
    const folded = view.value.fold || view.value.page === "charts";
    const pixels = limit(width());
    split.classList.toggle("folded", folded);
    split.style.setProperty("--side", `${folded ? 208 : pixels}px`);
    divider.setAttribute("aria-valuenow", String(pixels));
    divider.setAttribute("aria-valuemin", String(NARROWEST));
    divider.setAttribute("aria-valuemax", String(Math.max(NARROWEST, split.clientWidth - CHARTS_LEAST)));
    fold.hidden = view.value.page === "charts";
    fold.replaceChildren(icon(folded ? "unfold" : "fold"));
    fold.title = folded ? "Unfold the table" : "Fold the table to color and name";
    fold.setAttribute("aria-label", fold.title);
  };
  view.subscribe(show);
  new ResizeObserver(show).observe(split);
  show();

  divider.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    divider.setPointerCapture(event.pointerId);
    const left = split.getBoundingClientRect().left;
    const move = (/** @type {PointerEvent} */ now) => {
      const wanted = now.clientX - left;
      if (wanted < FOLDS_AT) change({ fold: true });
      else change({ page: "runs", fold: false, split: Math.round(limit(wanted)) });
    };
    const stop = () => divider.removeEventListener("pointermove", move);
    divider.addEventListener("pointermove", move);
    divider.addEventListener("lostpointercapture", stop, { once: true });
  });
  divider.addEventListener("dblclick", () => change({ fold: false, split: 0 }));
  divider.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    change({ fold: false, split: Math.round(limit(width() + (event.key === "ArrowLeft" ? -STEP : STEP))) });
  });
}
