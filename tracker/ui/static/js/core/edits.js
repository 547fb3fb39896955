/**
 * Edits of runs: shown at once, sent to the server, undone with `z` or by the button of the message.
 */
import { api } from "./api.js";
import { drop, meta, patch, refresh, runAt, valueOf, writable } from "./runs.js";
import { forget, record } from "./state.js";
import { toast } from "./toast.js";

/** @typedef {Record<string, any>} Fields name, tags, notes, group, color */

/**
 * @param {string[]} refs
 * @returns {boolean} whether all of them can be edited
 */
export function editable(refs) {
  return refs.length > 0 && refs.every((ref) => writable(ref));
}

/**
 * Set fields of runs.
 * @param {string[]} refs
 * @param {Fields} fields
 * @param {string} label what was done, as "rename"
 */
export async function edit(refs, fields, label) {
  const before = new Map(refs.map((ref) => [ref, Object.fromEntries(Object.keys(fields).map((name) => [name, valueOf(ref, name)]))]));
  await apply(new Map(refs.map((ref) => [ref, { ...fields }])), before, label);
}

/**
 * Set fields that differ from run to run.
 * @param {Map<string, Fields>} after
 * @param {string} label
 */
export async function editEach(after, label) {
  const before = new Map([...after].map(([ref, fields]) => [ref, Object.fromEntries(Object.keys(fields).map((name) => [name, valueOf(ref, name)]))]));
  await apply(after, before, label);
}

/**
 * @param {Map<string, Fields>} after
 * @param {Map<string, Fields>} before
 * @param {string} label
 */
async function apply(after, before, label) {
  const first = send(after, before);
  // Undone before the server has answered, it is sent after that, so that the last one wins there too.
  let last = first;
  /** @param {Map<string, Fields>} to @param {Map<string, Fields>} from */
  const next = (to, from) => (last = last.then(() => send(to, from)));
  const step = record({ label, undo: () => void next(before, after), redo: () => void next(after, before) });
  if (!(await first)) forget(step);
}

/**
 * @param {Map<string, Fields>} next
 * @param {Map<string, Fields>} previous what is shown again if it fails
 * @returns {Promise<boolean>}
 */
async function send(next, previous) {
  for (const [ref, fields] of next) patch(ref, fields);
  try {
    const { results } = await post({ edits: [...next].map(([run, set]) => ({ run, set })) });
    const failed = results.filter((/** @type {any} */ one) => !one.ok);
    for (const one of failed) patch(one.run, previous.get(one.run) ?? {});
    if (failed.length) toast(failed[0].error ?? "The edit was refused.", { kind: "error" });
    return failed.length < results.length;
  } catch (error) {
    for (const [ref, fields] of previous) patch(ref, fields);
    toast(`The edit was not saved: ${/** @type {Error} */ (error).message}`, { kind: "error" });
    return false;
  }
}

/**
 * Delete runs: they are hidden until `tracker rm` removes them, and can be restored.
 * @param {string[]} refs
 */
export async function remove(refs) {
  const name = refs.length === 1 ? (runAt(/** @type {string} */ (refs[0]))?.name ?? "run") : `${refs.length} runs`;
  if (!(await sendDelete(refs, true))) return;
  drop(new Set(refs));
  const step = record({ label: `delete ${name}`, undo: () => void restore(refs), redo: () => void remove(refs) });
  toast(`Deleted ${name}.`, { action: { label: "Undo", run: () => { forget(step); void restore(refs); } } });
}

/** @param {string[]} refs */
async function restore(refs) {
  if (await sendDelete(refs, false)) await refresh(refs);
}

/**
 * @param {string[]} refs
 * @param {boolean} gone
 */
async function sendDelete(refs, gone) {
  try {
    const { results } = await post({ edits: refs.map((run) => ({ run, delete: gone })) });
    const failed = results.find((/** @type {any} */ one) => !one.ok);
    if (failed) toast(failed.error ?? "The run was not deleted.", { kind: "error" });
    return !failed;
  } catch (error) {
    toast(`${gone ? "The run was not deleted" : "The run was not restored"}: ${/** @type {Error} */ (error).message}`, { kind: "error" });
    return false;
  }
}

/**
 * Edits need the token of `GET meta`: one that is made before it is here waits for it.
 * @param {any} body
 * @returns {Promise<any>}
 */
async function post(body) {
  if (!meta.peek()) {
    await new Promise((done) => {
      const end = meta.subscribe(() => {
        end();
        done(null);
      });
    });
  }
  return api.post("edits", body);
}
