/**
 * The palette behind Ctrl-K: finds runs, metrics and commands. What can be found is added by those who have it.
 */
import { openDialog } from "./dialog.js";
import { h, replace } from "./dom.js";
import { keyLabel } from "./keys.js";

/**
 * @typedef {object} Command
 * @property {string} label
 * @property {string} [keys] the key that does the same
 * @property {string} [kind] "Command", "Run", "Metric" …
 * @property {string} [detail] shown muted behind the label
 * @property {() => void} run
 */

/** @type {Command[]} */
let commands = [];
/** @type {((text: string) => Command[])[]} */
let sources = [];
/** Most rows shown. */
const LIMIT = 50;
/** Rows of each kind that come first. */
const EACH = 6;

/**
 * @param {Command} command
 * @returns {() => void} takes it out
 */
export function addCommand(command) {
  commands.push(command);
  return () => (commands = commands.filter((one) => one !== command));
}

/**
 * Add things that are found by text, as runs or metrics.
 * @param {(text: string) => Command[]} find gets the lower-case text; its results come best first
 * @returns {() => void} takes it out
 */
export function addSource(find) {
  sources.push(find);
  return () => (sources = sources.filter((one) => one !== find));
}

/** Open it. */
export function openPalette() {
  /** @type {Command[]} */
  let found = [];
  let at = 0;
  const list = h("div", { class: "palette-list", role: "listbox", id: "palette-list", "aria-label": "Found" });
  const input = h("input", {
    type: "text", class: "palette-input", placeholder: "Find a run, a metric or a command", role: "combobox", "aria-expanded": "true", "aria-controls": "palette-list",
    "aria-label": "Find a run, a metric or a command", autocomplete: "off", spellcheck: "false", on: { input: () => search(), keydown: walk },
  });
  const { close } = openDialog({ title: "Find", bare: true, body: h("div", { class: "palette" }, input, list) });
  search();
  input.focus();

  function search() {
    const text = input.value.trim().toLowerCase();
    const words = text.split(/\s+/).filter(Boolean);
    const hits = commands.map((one) => ({ one, rank: score(one.label.toLowerCase(), words) })).filter(({ rank }) => rank > 0)
      .sort((a, b) => b.rank - a.rank).map(({ one }) => one);
    const others = sources.map((find) => find(text));
    // Some of each kind first, so that many runs do not hide a metric or a command.
    const first = others.flatMap((list) => list.slice(0, EACH));
    found = (text ? [...first, ...hits, ...others.flatMap((list) => list.slice(EACH))] : [...hits, ...first]).slice(0, LIMIT);
    at = 0;
    show();
  }

  function show() {
    replace(list, found.length === 0 ? h("p", { class: "muted" }, `Nothing is called “${input.value.trim()}”.`) : found.map((one, row) => h("div", {
      class: "palette-row", role: "option", id: `palette-${row}`, "aria-selected": String(row === at),
      on: { click: () => choose(row), pointermove: () => { if (at !== row) { at = row; mark(); } } },
    }, h("span", { class: "palette-kind" }, one.kind ?? "Command"), h("span", { class: "palette-label" }, one.label),
    one.detail ? h("span", { class: "muted palette-detail" }, one.detail) : null, one.keys ? keyLabel(one.keys) : null)));
    mark();
  }

  function mark() {
    [...list.children].forEach((row, number) => row.setAttribute("aria-selected", String(number === at)));
    input.setAttribute("aria-activedescendant", found.length ? `palette-${at}` : "");
    list.children[at]?.scrollIntoView({ block: "nearest" });
  }

  /** @param {KeyboardEvent} event */
  function walk(event) {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      at = found.length ? (at + (event.key === "ArrowDown" ? 1 : -1) + found.length) % found.length : 0;
      mark();
    } else if (event.key === "Enter") {
      event.preventDefault();
      choose(at);
    }
  }

  /** @param {number} row */
  function choose(row) {
    const command = found[row];
    if (!command) return;
    close();
    command.run();
  }
}

/**
 * How well a text fits words: 0 if one is missing, more the nearer to the start of a word.
 * @param {string} text
 * @param {string[]} words lower case
 * @returns {number}
 */
export function score(text, words) {
  let total = 1;
  for (const word of words) {
    const at = text.indexOf(word);
    if (at < 0) return 0;
    total += at === 0 ? 3 : /[\s./_-]/.test(text[at - 1] ?? "") ? 2 : 1;
  }
  return total - text.length / 1000;
}
