/**
 * Saves the view as one HTML file, with its data, which opens without a server.
 */
import { api } from "../core/api.js";
import { matching, meta, runs, selected } from "../core/runs.js";
import { serialize, view } from "../core/state.js";
import { toast } from "../core/toast.js";
import { makePage } from "./bundle.js";
import { collect, MAX_ROWS } from "./collect.js";

let saving = false;

/** Save the view; the browser's download says where. */
export async function saveAsFile() {
  if (saving || api.saved) return;
  saving = true;
  const close = toast("Collecting the data of this view…", { timeout: 600_000 });
  try {
    const now = view.peek();
    const shown = now.page === "run" ? [now.ref] : selected();
    const pass = matching.peek();
    const rows = runs.peek().refs.filter((ref) => !pass || pass.has(ref));
    const files = (await api.get("bundle")).files;
    const data = await collect({ get: api.get, post: api.post, bytes: api.seriesBytes }, {
      rows, selected: shown, x: now.x, logX: now.logX, baseline: now.baseline, address: serialize({ ...now, runs: shown, chosen: true, query: "" }),
    });
    const title = titleOf(shown);
    const page = await makePage(files, data, title, crypto.subtle ? sha256 : null);
    download(new Blob([page], { type: "text/html" }), `${title.replace(/[^\p{L}\p{N}._-]+/gu, "-").slice(0, 80)}.html`);
    close();
    toast(rows.length > MAX_ROWS ? `Saved with the first ${MAX_ROWS.toLocaleString()} of ${rows.length.toLocaleString()} runs.` : "Saved. The file opens without a server.");
  } catch (error) {
    close();
    toast(`The view cannot be saved: ${error instanceof Error ? error.message : error}`, { kind: "error" });
  } finally {
    saving = false;
  }
}

/** @param {string[]} shown */
function titleOf(shown) {
  const columns = runs.peek().columns;
  const at = runs.peek().index.get(shown[0] ?? "");
  const name = at === undefined ? null : shown.length === 1 ? columns.get("name")?.[at] : columns.get("project")?.[at];
  const date = new Date((meta.peek()?.now ?? Date.now() / 1000) * 1000).toISOString().slice(0, 10);
  return `tracker ${name ?? "runs"} ${date}`;
}

/**
 * Browsers compute hashes on this machine or over HTTPS only.
 * @param {string} text
 * @returns {Promise<string>}
 */
async function sha256(text) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return btoa(String.fromCharCode(...digest));
}

/**
 * @param {Blob} blob
 * @param {string} name
 */
function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
