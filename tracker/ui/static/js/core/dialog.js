/**
 * Dialogs: the browser's own, which keep the focus, end with Escape and give the focus back.
 */
import { h } from "./dom.js";

/**
 * @typedef {object} Action
 * @property {string} label
 * @property {boolean} [primary]
 * @property {boolean} [danger]
 * @property {() => (void | false | Promise<void>)} [run] false keeps the dialog open
 */

/**
 * @param {{title: string, body: Node, actions?: Action[], wide?: boolean, onClose?: () => void, bare?: boolean}} options `bare`: without a
 *   heading; the title is for screen readers only
 * @returns {{close: () => void, node: HTMLDialogElement}}
 */
export function openDialog({ title, body, actions = [], wide = false, onClose, bare = false }) {
  const close = () => node.close();
  const node = h("dialog", { class: `dialog${wide ? " wide" : ""}${bare ? " bare" : ""}`, "aria-label": title },
    bare ? null : h("header", null, h("h2", null, title), h("button", { class: "icon", type: "button", "aria-label": "Close", on: { click: close } }, "✕")),
    h("div", { class: "dialog-body" }, body),
    actions.length ? h("footer", null, actions.map((action) => h("button", {
      type: "button", class: action.primary ? "primary" : action.danger ? "danger" : "",
      on: { click: () => void (action.run?.() !== false && close()) },
    }, action.label))) : null);
  // A click on what is behind the dialog closes it.
  node.addEventListener("pointerdown", (event) => {
    if (event.target === node) close();
  });
  node.addEventListener("close", () => {
    node.remove();
    onClose?.();
  });
  document.body.append(node);
  node.showModal();
  return { close, node };
}
