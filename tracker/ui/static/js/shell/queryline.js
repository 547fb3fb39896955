/**
 * The query line: what is typed filters the runs; fields and values are suggested; an error is shown under it with its place
 * marked.
 */
import { h, replace } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { bind } from "../core/keys.js";
import { openPalette } from "../core/palette.js";
import { queryResult } from "../core/query.js";
import { columnInfos, ensureColumns, loadColumnInfos, runs } from "../core/runs.js";
import { change, view } from "../core/state.js";
import { completions } from "./suggest.js";

/** Time before the error of an unfinished query is shown, in milliseconds. */
const PATIENCE = 700;

/** @param {HTMLElement} node */
export function mountQueryLine(node) {
  const input = h("input", {
    type: "search", class: "query-input", placeholder: "Filter runs: config.lr > 0.01 and state == \"running\"", "aria-label": "Filter runs by a query", autocomplete: "off", spellcheck: "false",
    autocapitalize: "off", role: "combobox", "aria-expanded": "false", "aria-controls": "query-list", "aria-autocomplete": "list", "aria-describedby": "query-error",
  });
  const list = h("div", { class: "query-list", id: "query-list", role: "listbox", "aria-label": "Suggestions", hidden: true });
  const problem = h("div", { class: "query-error", id: "query-error", role: "alert", hidden: true });
  const hint = h("button", { class: "hint", type: "button", tabindex: "-1", title: "Find runs, metrics, commands", "aria-label": "Find runs, metrics, commands", on: { click: openPalette } },
    h("kbd", null, /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘K" : "Ctrl K"));
  node.append(h("span", { class: "glass", "aria-hidden": "true" }, icon("search")), input, hint, list, problem);
  /** Whether nothing could be suggested yet: fields and values may still be loading. */
  let waiting = false;
  /** @type {import("./suggest.js").Completion[]} */
  let found = [];
  let at = -1;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  const put = () => change({ query: input.value }, { replace: true });
  const close = () => {
    found = [];
    at = -1;
    waiting = false;
    showList();
  };
  const suggest = () => {
    found = completions(input.value, input.selectionStart ?? input.value.length, columnInfos.value, valuesOf);
    at = -1;
    waiting = found.length === 0;
    showList();
  };
  const again = () => {
    if (waiting && document.activeElement === input) suggest();
  };
  columnInfos.subscribe(again);
  runs.subscribe(again);

  function showList() {
    list.hidden = found.length === 0;
    input.setAttribute("aria-expanded", String(found.length > 0));
    replace(list, found.map((one, row) => h("div", { class: "query-option", role: "option", id: `query-${row}`, "aria-selected": String(row === at), on: {
      pointerdown: (/** @type {Event} */ event) => { event.preventDefault(); accept(one); },
    } }, h("bdi", { class: "grow" }, one.label), h("span", { class: "muted" }, one.detail))));
    if (at >= 0) {
      input.setAttribute("aria-activedescendant", `query-${at}`);
      list.children[at]?.scrollIntoView({ block: "nearest" });
    } else input.removeAttribute("aria-activedescendant");
  }

  /** @param {import("./suggest.js").Completion} one */
  function accept(one) {
    input.value = input.value.slice(0, one.from) + one.text + input.value.slice(one.to);
    input.setSelectionRange(one.from + one.text.length, one.from + one.text.length);
    put();
    suggest();
  }

  function showError() {
    clearTimeout(timer);
    const { error } = queryResult.value;
    input.setAttribute("aria-invalid", String(error !== null));
    if (!error) {
      problem.hidden = true;
      return;
    }
    timer = setTimeout(() => {
      const text = view.value.query;
      const place = error.position === null ? -1 : Math.max(0, Math.min(error.position, text.length));
      replace(problem, place < 0 ? null : h("code", null, text.slice(0, place), h("mark", null, text.slice(place, place + 1) || " "), text.slice(place + 1)), h("p", null, error.message));
      problem.hidden = false;
      close();
    }, document.activeElement === input ? PATIENCE : 0);
  }

  input.addEventListener("input", () => {
    problem.hidden = true;
    put();
    suggest();
  });
  input.addEventListener("focus", () => {
    if (!columnInfos.value.length) void loadColumnInfos().catch(() => undefined);
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if ((event.key === "ArrowDown" || event.key === "ArrowUp") && !found.length) suggest();
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      at = found.length ? (at + (event.key === "ArrowDown" ? 1 : -1) + found.length) % found.length : -1;
      showList();
    } else if ((event.key === "Enter" || event.key === "Tab") && at >= 0) {
      event.preventDefault();
      accept(/** @type {import("./suggest.js").Completion} */ (found[at]));
    } else if (event.key === "Enter") {
      close();
      input.blur();
    } else if (event.key === "Escape") {
      event.preventDefault();
      if (found.length) close();
      else if (input.value) {
        input.value = "";
        put();
      } else input.blur();
    }
  });
  view.subscribe(() => {
    if (input.value !== view.value.query) input.value = view.value.query;
  });
  input.value = view.value.query;
  queryResult.subscribe(showError);
  bind("/", "Filter runs", () => {
    if (view.peek().page === "run" || view.peek().page === "compare") change({ page: "runs" });
    input.focus();
    input.select();
  });
}

/** Values of a field, for suggestions. @param {string} name */
function valuesOf(name) {
  const values = runs.peek().columns.get(name);
  if (!values) {
    if (columnInfos.peek().some((one) => one.name === name)) void ensureColumns([name]).catch(() => undefined);
    return [];
  }
  return [...new Set(values.flat().filter((value) => value !== null))].slice(0, 200);
}
