/**
 * Key bindings and the list of them. A key is written as `event.key` with modifiers: "j", "Z", "?", "Ctrl+k"
 * ("Ctrl" is also the Mac's command key).
 */
import { openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { view } from "./state.js";

/**
 * @typedef {object} Binding
 * @property {string} key
 * @property {string} label what it does, for the list
 * @property {(event: KeyboardEvent) => void} run
 * @property {string} page page on which it works; "" for all
 */

/** @type {Binding[]} */
let bindings = [];

/**
 * Bind a key. The latest binding of a key that fits the page wins.
 * @param {string} key
 * @param {string} label an empty label keeps it out of the list
 * @param {(event: KeyboardEvent) => void} run
 * @param {{page?: string}} [options] `page`: "runs", "charts", "run", "compare"; several with "|" between
 * @returns {() => void} removes it
 */
export function bind(key, label, run, { page = "" } = {}) {
  const binding = { key, label, run, page };
  bindings.push(binding);
  return () => (bindings = bindings.filter((one) => one !== binding));
}

/** @returns {Binding[]} those that work on the page on the screen */
export function activeBindings() {
  const { page } = view.peek();
  return bindings.filter((one) => one.page === "" || one.page.split("|").includes(page));
}

export function startKeys() {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    const name = keyName(event);
    if (typing(event.target) && !name.startsWith("Ctrl+")) return;
    // What is typed in a field is undone by the browser.
    if (typing(event.target) && /^Ctrl\+[zy]$/i.test(name)) return;
    // These press the focused button, and must do nothing else.
    if ((name === "Enter" || name === "Space") && pressable(event.target)) return;
    if (document.querySelector("dialog[open]") && !name.startsWith("Ctrl+")) return;
    const binding = activeBindings().findLast((one) => one.key === name);
    if (!binding) return;
    event.preventDefault();
    binding.run(event);
  });
}

/**
 * @param {KeyboardEvent} event
 * @returns {string}
 */
export function keyName(event) {
  const key = event.key === " " ? "Space" : event.key;
  if (event.altKey) return `Alt+${key}`;
  if (event.ctrlKey || event.metaKey) return `Ctrl+${event.shiftKey ? key.toUpperCase() : key}`;
  return event.shiftKey && key.length > 1 ? `Shift+${key}` : key;
}

/**
 * @param {EventTarget | null} target
 * @returns {boolean} whether keys pressed there are text
 */
export function typing(target) {
  if (!(target instanceof HTMLElement) || target.closest("dialog:not([open])")) return false;
  if (target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return true;
  return target instanceof HTMLInputElement && !["checkbox", "radio", "button", "range", "color"].includes(target.type);
}

/** @param {EventTarget | null} target */
function pressable(target) {
  return target instanceof Element && target.closest("button, a[href], input, summary, [role=button], [role=tab], [role=menuitem], [role=option]") !== null;
}

const MAC = /Mac|iPhone|iPad/.test(navigator.platform);
/** @type {Record<string, string>} */
const SIGNS = { Ctrl: MAC ? "⌘" : "Ctrl", Shift: MAC ? "⇧" : "Shift", Space: "Space", Enter: "Enter", Escape: "Esc", ArrowUp: "↑", ArrowDown: "↓" };

/**
 * A key as it is shown.
 * @param {string} key
 * @returns {HTMLElement}
 */
export function keyLabel(key) {
  const written = /^Ctrl\+[A-Z]$/.test(key) ? key.replace("+", "+Shift+") : key;
  const parts = written.split("+").map((part) => SIGNS[part] ?? (part.length === 1 && key.includes("+") ? part.toUpperCase() : part));
  return h("kbd", null, parts.join(MAC ? "" : "+"));
}

/** Show the list of keys. */
export function showKeys() {
  /** @type {Map<string, Binding[]>} */
  const groups = new Map([["", []]]);
  const { page } = view.peek();
  for (const one of bindings) {
    if (!one.label) continue;
    const name = one.page === "" ? "" : one.page.split("|").includes(page) ? page : /** @type {string} */ (one.page.split("|")[0]);
    const list = groups.get(name) ?? [];
    if (!list.some((other) => other.key === one.key && other.label === one.label)) list.push(one);
    groups.set(name, list);
  }
  /** @type {Record<string, string>} */
  const titles = { "": "Everywhere", runs: "Runs", charts: "Charts", run: "A run", compare: "Compare" };
  const order = ["", page, ...groups.keys()].filter((name, at, all) => all.indexOf(name) === at && groups.get(name)?.length);
  openDialog({
    title: "Keys", wide: true,
    body: h("div", { class: "keys" }, order.map((name) => h("section", null, h("h3", null, titles[name] ?? name),
      h("dl", null, merged(groups.get(name) ?? []).map(([label, keys]) => h("div", null,
        h("dt", null, keys.map((key) => keyLabel(key))), h("dd", null, label))))))),
  });
}

/**
 * Keys that do the same, merged into one line.
 * @param {Binding[]} list
 * @returns {[string, string[]][]}
 */
function merged(list) {
  /** @type {Map<string, string[]>} */
  const result = new Map();
  for (const one of list) result.set(one.label, [...(result.get(one.label) ?? []), one.key]);
  return [...result];
}
