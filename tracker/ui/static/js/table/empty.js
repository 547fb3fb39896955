/**
 * Shown instead of the table if it has no rows: loading, no runs, no matches, an error.
 */
import { api } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { plural, whole } from "../core/format.js";
import { placeTrouble } from "../core/places.js";
import { retry } from "../core/polling.js";
import { awaitingQuery, queryResult } from "../core/query.js";
import { meta, runs, trouble } from "../core/runs.js";
import { change, view } from "../core/state.js";
import { arrangement } from "./model.js";

/** Time before "Loading" is shown, in milliseconds. */
const PATIENCE = 400;

/**
 * @param {HTMLElement} node
 * @param {HTMLElement} table hidden while there is nothing to show
 * @param {HTMLElement} foot
 * @returns {() => void} ends it
 */
export function mountEmpty(node, table, foot) {
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    show();
  }, PATIENCE);

  function show() {
    const content = sentence(late);
    const isEmpty = content !== null;
    node.hidden = !isEmpty;
    table.classList.toggle("blank", isEmpty);
    foot.hidden = !runs.value.loaded || runs.value.refs.length === 0;
    replace(node, content);
  }
  const ends = [runs.subscribe(show), arrangement.subscribe(show), trouble.subscribe(show), queryResult.subscribe(show), meta.subscribe(show)];
  show();
  return () => {
    clearTimeout(timer);
    ends.forEach((end) => end());
  };
}

/** @param {{done: number, total: number}} indexing */
function progress({ done, total }) {
  return h("div", { class: "empty" }, h("p", null, `Reading the runs for the first time: ${whole(done)} of ${plural(total, "run")}.`), h("progress", { max: String(total), value: done, "aria-label": "Runs read" }));
}

/**
 * @param {boolean} late
 * @returns {HTMLElement | null} null where there are rows
 */
function sentence(late) {
  const { loaded, refs } = runs.value;
  const indexing = meta.value?.indexing;
  if (!loaded) {
    if (trouble.value) {
      return h("div", { class: "empty" }, h("strong", null, "The runs could not be loaded"), h("p", null, trouble.value.message),
        h("button", { type: "button", on: { click: () => retry() } }, "Try again"));
    }
    if (indexing?.total) return progress(indexing);
    return late ? h("div", { class: "empty" }, h("p", null, "Loading runs…")) : h("div", null);
  }
  if (refs.length === 0) {
    if (indexing) return indexing.total ? progress(indexing) : h("div", { class: "empty" }, h("p", null, "Loading runs…"));
    const troubles = (meta.value?.places ?? []).map(placeTrouble).filter(Boolean);
    if (troubles.length) return h("div", { class: "empty", role: "alert" }, h("strong", null, "The runs cannot be read"), troubles.map((text) => h("p", null, text)));
    const places = (meta.value?.places ?? []).map((one) => one.place);
    return h("div", { class: "empty" }, h("strong", null, "No runs yet"),
      h("p", null, "They appear here within two seconds of ", h("code", null, "tracker.init()"), "."),
      places.length && !api.saved ? h("p", null, `Looking in ${places.join(", ")}.`) : null,
      h("pre", { class: "example" }, "import tracker\n\nwith tracker.init(project=\"demo\", config={\"lr\": 0.1}) as run:\n    for step in range(100):\n        run.log({\"loss\": 1 / (step + 1)})"));
  }
  if (arrangement.value.refs.length || awaitingQuery()) return null;
  const { query, filters, project } = view.value;
  const projects = runs.value.columns.get("project") ?? [];
  const only = new Set(projects).size === 1 ? projects[0] : null;
  const where = ` in ${project || only || "all"}`;
  const total = whole(project ? projects.filter((one) => one === project).length : refs.length);
  return h("div", { class: "empty" },
    query ? h("p", null, "No runs match ", h("code", null, query), ` (${total}${where}).`) : h("p", null, `No runs pass the ${Object.keys(filters).length === 1 ? "filter" : "filters"} (${total}${where}).`),
    h("div", { class: "buttons" }, query ? h("button", { type: "button", on: { click: () => change({ query: "" }) } }, "Clear the query") : null,
      Object.keys(filters).length ? h("button", { type: "button", on: { click: () => change({ filters: {} }) } }, "Remove the filters") : null,
      project ? h("button", { type: "button", on: { click: () => change({ project: "" }) } }, "Look in all projects") : null));
}
