/**
 * What differs between the selected runs: a table, a scatter, parallel coordinates, and where their curves part.
 */
import { api } from "../core/api.js";
import { clear, h, replace } from "../core/dom.js";
import { plural } from "../core/format.js";
import { bind } from "../core/keys.js";
import { changed, runs, selection } from "../core/runs.js";
import { signal } from "../core/signal.js";
import { change, view } from "../core/state.js";
import { setOption } from "./options.js";
import { mountCurves } from "./curves.js";
import { mountParallel } from "./parallel.js";
import { mountScatter } from "./scatter.js";
import { mountDifferences } from "./table.js";

/** Most runs that are compared; the server's limit. */
export const MOST = 200;
/** Shortest time between two requests while runs are live, in milliseconds. */
const PAUSE = 2000;

/**
 * @typedef {import("./rows.js").Answer} Answer
 * @typedef {{answer: import("../core/signal.js").Signal<Answer | null>}} Context
 */

/** @type {{id: string, label: string, mount: (node: HTMLElement, context: Context) => () => void}[]} */
const PARTS = [
  { id: "", label: "Differences", mount: mountDifferences },
  { id: "curves", label: "Where curves part", mount: mountCurves },
  { id: "scatter", label: "Scatter", mount: mountScatter },
  { id: "parallel", label: "Parallel coordinates", mount: mountParallel },
];

/**
 * @param {HTMLElement} node
 * @returns {() => void} ends it
 */
export function mountCompare(node) {
  const answer = signal(/** @type {Answer | null} */ (null));
  const title = h("span", { class: "muted" });
  const tabs = h("div", { class: "run-tabs compare-tabs", role: "tablist", "aria-label": "Ways to compare" }, PARTS.map((part) => h("button", {
    type: "button", role: "tab", data: { part: part.id }, on: { click: () => setOption("part", part.id) },
  }, part.label)));
  const bar = h("div", { role: "status" });
  const body = h("div", { class: "compare-body", role: "tabpanel" });
  replace(node, h("div", { class: "compare-page" }, h("header", { class: "compare-head" }, h("h1", null, "Compare"), title, h("span", { class: "grow" }),
    h("button", { type: "button", on: { click: () => change({ page: "charts" }) } }, "Charts of these runs")), tabs, bar, body));

  let request = 0;
  let asked = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let last = 0;
  let problem = "";

  const load = async () => {
    clearTimeout(timer);
    timer = undefined;
    const refs = selection.peek().slice(0, MOST);
    if (refs.length < 2) return;
    const number = (request += 1);
    last = Date.now();
    const baseline = refs.includes(view.peek().baseline) ? view.peek().baseline : refs[0];
    try {
      const next = await api.post("compare", { runs: refs, baseline, all: true });
      if (number !== request) return;
      problem = "";
      answer.value = next;
    } catch (error) {
      if (number !== request) return;
      problem = /** @type {Error} */ (error).message;
    }
    show();
  };
  const want = () => {
    if (timer) return;
    timer = setTimeout(() => void load(), Math.max(0, last + PAUSE - Date.now()));
  };

  /** @type {(() => void) | void} */
  let endPart;
  let shownPart = "none";
  const show = () => {
    const refs = selection.peek();
    const { options, baseline } = view.peek();
    const key = `${refs.slice(0, MOST).join()} ${baseline}`;
    if (key !== asked) {
      asked = key;
      if (refs.length >= 2) void load();
      else answer.value = null;
    }
    const enough = refs.length >= 2;
    tabs.hidden = !enough;
    title.textContent = enough ? plural(refs.length, "run") : "";
    const gone = answer.peek()?.gone ?? [];
    const notes = [
      refs.length > MOST ? `${plural(refs.length, "run is", "runs are")} selected; the first ${MOST} are compared.` : "",
      gone.length ? `${plural(gone.length, "run was", "runs were")} deleted and left out.` : "",
      (answer.peek()?.left_out ?? 0) > 0 ? `${plural(answer.peek()?.left_out ?? 0, "key is", "keys are")} left out; at most 2,000 are compared.` : "",
      problem,
    ].filter(Boolean);
    replace(bar, enough && notes.length ? h("p", { class: "notice warn" }, notes.join(" ")) : null);
    if (!enough) {
      endPart?.();
      endPart = undefined;
      shownPart = "none";
      const loaded = runs.peek().loaded;
      replace(body, h("div", { class: "empty" }, h("strong", null, loaded ? "Select two or more runs to compare" : "Loading runs…"),
        loaded ? h("p", null, "In the table of runs: ", h("kbd", null, "j"), " and ", h("kbd", null, "k"), " move, ", h("kbd", null, "Space"), " selects, ", h("kbd", null, "c"), " compares.") : null,
        loaded ? h("button", { type: "button", class: "primary", on: { click: () => change({ page: "runs" }) } }, "Go to the runs") : null));
      return;
    }
    const part = PARTS.find((one) => one.id === (options.part ?? "")) ?? PARTS[0];
    for (const tab of /** @type {NodeListOf<HTMLElement>} */ (tabs.querySelectorAll("[role=tab]"))) {
      const on = tab.dataset.part === part?.id;
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
    }
    if (!answer.peek()) {
      if (shownPart !== "loading") {
        shownPart = "loading";
        replace(body, h("div", { class: "empty" }, problem || "Comparing…"));
      }
      return;
    }
    if (!part || shownPart === part.id) return;
    shownPart = part.id;
    endPart?.();
    clear(body);
    const host = h("div", { class: `compare-part compare-${part.id || "differences"}` });
    body.append(host);
    endPart = part.mount(host, { answer });
  };
  tabs.addEventListener("keydown", (event) => {
    const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!by) return;
    event.preventDefault();
    step(tabs, by, true);
  });
  const ends = [
    selection.subscribe(show), runs.subscribe(show), view.subscribe(show), answer.subscribe(show),
    changed.subscribe((refs) => {
      if (selection.peek().some((ref) => refs.has(ref))) want();
    }),
    bind("[", "Previous part", () => step(tabs, -1, false), { page: "compare" }),
    bind("]", "Next part", () => step(tabs, 1, false), { page: "compare" }),
    bind("Escape", "Back to the runs", () => change({ page: "runs" }), { page: "compare" }),
  ];
  show();
  return () => {
    clearTimeout(timer);
    request += 1;
    ends.forEach((end) => end());
    endPart?.();
    node.replaceChildren();
  };
}

/**
 * @param {HTMLElement} tabs
 * @param {number} by
 * @param {boolean} focus
 */
function step(tabs, by, focus) {
  const all = /** @type {HTMLElement[]} */ ([...tabs.querySelectorAll("[role=tab]")]);
  const at = all.findIndex((tab) => tab.getAttribute("aria-selected") === "true");
  const next = all[(at + by + all.length) % all.length];
  next?.click();
  if (focus) next?.focus();
}
