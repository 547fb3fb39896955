/**
 * Changes of a run by hand: sent to the server as an edit, shown at once, undone by sending the inverse.
 */
import { api } from "../core/api.js";
import { patch, refresh } from "../core/runs.js";
import { record } from "../core/state.js";
import { toast } from "../core/toast.js";

/** @typedef {{name?: string, tags?: string[], notes?: string, group?: string, color?: string | null}} Fields */

/**
 * @param {string} ref
 * @param {Fields} set what it becomes
 * @param {Fields} before what it was
 * @param {string} label what changed, such as "name"
 * @returns {Promise<boolean>} whether it was taken
 */
export async function edit(ref, set, before, label) {
  if (!(await send(ref, set))) return false;
  record({ label, undo: () => void send(ref, before), redo: () => void send(ref, set) });
  return true;
}

/**
 * @param {string} ref
 * @param {Fields} set
 */
async function send(ref, set) {
  try {
    const answer = await api.post("edits", { edits: [{ run: ref, set }] });
    const result = answer?.results?.[0];
    if (result && !result.ok) throw new Error(result.error?.message ?? result.error ?? "The run was not changed.");
    patch(ref, set);
    void refresh([ref]).catch(() => {});
    return true;
  } catch (error) {
    toast(`Not changed: ${/** @type {Error} */ (error).message}`, { kind: "error" });
    return false;
  }
}
