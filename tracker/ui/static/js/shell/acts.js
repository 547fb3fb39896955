/**
 * Undo, redo and copying the link, as menus, keys and commands do them: with a message that says what was done.
 */
import { redo, serialize, undo, view } from "../core/state.js";
import { toast } from "../core/toast.js";

export function undoIt() {
  const step = undo();
  toast(step ? `Undid: ${step.label}.` : "Nothing to undo.", { timeout: 2000, topic: "undo" });
}

export function redoIt() {
  const step = redo();
  toast(step ? `Redid: ${step.label}.` : "Nothing to redo.", { timeout: 2000, topic: "undo" });
}

/** Copy an address that shows what is on the screen, the selected runs included. */
export async function copyLink() {
  const address = location.href.replace(/[?#].*$/, "") + serialize({ ...view.value, chosen: true });
  try {
    await navigator.clipboard.writeText(address);
    toast("Copied the link to this view.");
  } catch {
    toast("The browser does not allow copying here; the address bar has the link.", { kind: "error" });
  }
}
