/**
 * Bars under the header: the server does not answer, a place cannot be read, the runs are read for the first time.
 */
import { connection } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { clock, whole } from "../core/format.js";
import { placeTrouble } from "../core/places.js";
import { retry } from "../core/polling.js";
import { meta, runs } from "../core/runs.js";

/** @param {HTMLElement} node */
export function mountBars(node) {
  const show = () => {
    const { ok, since, last } = connection.value;
    const indexing = meta.value?.indexing;
    const parts = [];
    if (!ok) {
      const what = runs.value.loaded ? "showing what was loaded" : "nothing has been loaded";
      parts.push(h("div", { class: "bar gone", role: "alert" }, h("span", { class: "grow" }, `The server stopped answering at ${clock(last || since)}; ${what}.`),
        h("button", { type: "button", on: { click: retry } }, "Try now")));
    } else if (runs.value.partial && runs.value.refs.length) {
      const total = indexing?.total ?? 0;
      const done = Math.max(indexing?.done ?? 0, runs.value.refs.length);
      parts.push(h("div", { class: "bar", role: "status" }, h("span", null, `Reading the runs for the first time${total ? `: ${whole(done)} of ${whole(total)}` : ""}`),
        h("progress", { ...(total ? { max: String(total), value: done } : {}), "aria-label": "Runs read" })));
    }
    // Where there are no runs at all, the table's place says it.
    for (const place of ok && runs.value.refs.length ? (meta.value?.places ?? []) : []) {
      if (place.error) parts.push(h("div", { class: "bar gone", role: "alert" }, h("span", { class: "grow" }, placeTrouble(place))));
    }
    const key = parts.map((one) => one.textContent).join();
    if (key === node.dataset.key) return;
    node.dataset.key = key;
    node.hidden = parts.length === 0;
    replace(node, parts);
  };
  connection.subscribe(show);
  meta.subscribe(show);
  runs.subscribe(show);
  show();
}
