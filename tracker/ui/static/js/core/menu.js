/**
 * Menus and popovers beside an element or at a point: one at a time, closed by Escape, by a click elsewhere, by choosing.
 */
import { h } from "./dom.js";

/**
 * @typedef {object} Item One row of a menu.
 * @property {string} label
 * @property {() => void} [run]
 * @property {string} [keys] the key that does the same, shown at the right
 * @property {boolean} [checked] shows a mark; given, the item is a check box
 * @property {boolean} [disabled]
 * @property {boolean} [danger]
 * @property {string} [title]
 *
 * @typedef {Item | "-" | {heading: string}} Entry "-" is a line
 * @typedef {Element | {x: number, y: number}} Anchor
 * @typedef {{close: () => void, node: HTMLElement}} Opened
 */

/** @type {Opened | null} */
let open = null;

/**
 * @param {Anchor} anchor
 * @param {Entry[]} entries
 * @param {{label?: string, onClose?: () => void}} [options]
 * @returns {Opened}
 */
export function openMenu(anchor, entries, { label = "Menu", onClose } = {}) {
  const rows = entries.map((entry) => {
    if (entry === "-") return h("hr", { role: "separator" });
    if ("heading" in entry) return h("div", { class: "menu-heading", role: "presentation" }, entry.heading);
    const checkable = entry.checked !== undefined;
    return h("button", {
      type: "button", role: checkable ? "menuitemcheckbox" : "menuitem", "aria-checked": checkable ? String(entry.checked) : null, tabindex: "-1",
      class: entry.danger ? "danger" : "", disabled: entry.disabled ?? false, title: entry.title ?? null,
      on: { click: () => { opened.close(); entry.run?.(); }, pointerenter: (/** @type {any} */ event) => event.currentTarget.focus({ preventScroll: true }) },
    }, h("span", { class: "mark", "aria-hidden": "true" }, checkable && entry.checked ? "✓" : ""), h("span", { class: "grow" }, entry.label),
    entry.keys ? h("kbd", null, entry.keys) : null);
  });
  const list = h("div", { class: "menu", role: "menu", "aria-label": label, on: { keydown: walk } }, rows);
  const opened = openPopover(anchor, list, { label, onClose, plain: true });
  /** @type {HTMLButtonElement | undefined} */ (buttons(list)[0])?.focus();
  return opened;
}

/** @param {HTMLElement} list */
function buttons(list) {
  return /** @type {HTMLButtonElement[]} */ ([...list.querySelectorAll("button:not(:disabled)")]);
}

/** @param {KeyboardEvent} event */
function walk(event) {
  const all = buttons(/** @type {HTMLElement} */ (event.currentTarget));
  const at = all.indexOf(/** @type {any} */ (document.activeElement));
  /** @type {Record<string, number>} */
  const to = { ArrowDown: (at + 1) % all.length, ArrowUp: (at - 1 + all.length) % all.length, Home: 0, End: all.length - 1 };
  if (event.key in to) {
    event.preventDefault();
    all[/** @type {number} */ (to[event.key])]?.focus();
  } else if (event.key.length === 1 && !event.ctrlKey && !event.metaKey) {
    const from = [...all.slice(at + 1), ...all.slice(0, at + 1)];
    from.find((one) => one.textContent?.trim().toLowerCase().startsWith(event.key.toLowerCase()))?.focus();
    event.preventDefault();
  }
}

/**
 * Show `content` beside `anchor`, above everything else. An open one is closed first.
 * @param {Anchor} anchor
 * @param {HTMLElement} content
 * @param {{label?: string, onClose?: (cancelled: boolean) => void, plain?: boolean}} [options] `plain`: no padding; `onClose` hears
 *   whether Escape closed it
 * @returns {Opened}
 */
export function openPopover(anchor, content, { label = "", onClose, plain = false } = {}) {
  open?.close();
  const before = document.activeElement;
  const node = h("div", { class: `popover${plain ? " plain" : ""}`, popover: "manual", role: plain ? null : "dialog", "aria-label": plain ? null : label }, content);
  let closed = false;
  const end = (cancelled = false) => {
    if (closed) return;
    closed = true;
    if (open === opened) open = null;
    removeEventListener("pointerdown", outside, true);
    removeEventListener("keydown", escape, true);
    removeEventListener("resize", close);
    const inside = node.contains(document.activeElement);
    node.remove();
    if (anchor instanceof Element) anchor.removeAttribute("aria-expanded");
    if (inside && before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
    onClose?.(cancelled);
  };
  const close = () => end();
  const outside = (/** @type {Event} */ event) => {
    const target = /** @type {Node} */ (event.target);
    if (node.contains(target)) return;
    // A press of the anchor closes it, and must not open it again.
    if (anchor instanceof Element && anchor.contains(target)) {
      anchor.addEventListener("click", (click) => click.stopImmediatePropagation(), { capture: true, once: true });
    }
    close();
  };
  const escape = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Escape" && !(event.key === "Tab" && plain)) return;
    event.preventDefault();
    event.stopPropagation();
    end(event.key === "Escape");
  };
  const opened = { close, node };
  open = opened;
  if (anchor instanceof Element) anchor.setAttribute("aria-expanded", "true");
  // Inside an open dialog, so that it is not inert.
  (document.querySelector("dialog[open]") ?? document.body).append(node);
  node.showPopover();
  place(node, anchor);
  addEventListener("pointerdown", outside, true);
  addEventListener("keydown", escape, true);
  addEventListener("resize", close);
  return opened;
}

/** Close what is open. */
export function closePopover() {
  open?.close();
}

/**
 * Below the anchor if there is room, else above; never off the screen.
 * @param {HTMLElement} node
 * @param {Anchor} anchor
 */
function place(node, anchor) {
  const edge = 8;
  const at = anchor instanceof Element ? anchor.getBoundingClientRect() : { left: anchor.x, right: anchor.x, top: anchor.y, bottom: anchor.y };
  const { width, height } = node.getBoundingClientRect();
  const below = innerHeight - at.bottom - edge;
  const above = at.top - edge;
  const left = Math.max(edge, Math.min(at.left, innerWidth - width - edge));
  const top = height <= below || below >= above ? at.bottom + 4 : Math.max(edge, at.top - height - 4);
  node.style.setProperty("left", `${left}px`);
  node.style.setProperty("top", `${Math.max(edge, Math.min(top, innerHeight - Math.min(height, innerHeight - 2 * edge) - edge))}px`);
}
