/**
 * Short messages at the bottom, read out by screen readers; a message may have a button such as Undo.
 */
import { h } from "./dom.js";

/** How long a message stays, and how long one with a button, in milliseconds. */
const STAY = 4000;
const STAY_WITH_ACTION = 8000;

/** @type {HTMLElement | null} */
let host = null;

/**
 * @param {string} message
 * @param {{action?: {label: string, run: () => void}, kind?: "info" | "error", timeout?: number, topic?: string}} [options]
 *   `topic`: it replaces an earlier message of the same topic
 * @returns {() => void} removes it
 */
export function toast(message, { action, kind = "info", timeout, topic } = {}) {
  if (!host) {
    host = h("div", { class: "toasts", role: "status", "aria-live": "polite" });
    document.body.append(host);
  }
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  const stay = timeout ?? (kind === "error" || action ? STAY_WITH_ACTION : STAY);
  const close = () => {
    clearTimeout(timer);
    node.remove();
  };
  const plan = () => (timer = setTimeout(close, stay));
  const node = h("div", { class: `toast ${kind}`, data: topic ? { topic } : {}, on: { pointerenter: () => clearTimeout(timer), pointerleave: plan } }, h("span", null, message),
    action ? h("button", { type: "button", class: "link", on: { click: () => { close(); action.run(); } } }, action.label) : null,
    h("button", { type: "button", class: "icon", "aria-label": "Dismiss", on: { click: close } }, "✕"));
  if (topic) for (const other of host.querySelectorAll(`[data-topic="${topic}"]`)) other.remove();
  host.append(node);
  while (host.children.length > 3) host.firstElementChild?.remove();
  plan();
  return close;
}
