/**
 * Saved views: addresses with a name, kept by the server.
 */
import { api } from "../core/api.js";
import { openDialog } from "../core/dialog.js";
import { h, replace } from "../core/dom.js";
import { openMenu } from "../core/menu.js";
import { addSource } from "../core/palette.js";
import { change, parse, serialize, view } from "../core/state.js";
import { toast } from "../core/toast.js";
import { whenVisible } from "../core/visible.js";
import { copyLink } from "./acts.js";

/** @typedef {{id: string, name: string, state: any}} SavedView */

/** @type {SavedView[]} */
let known = [];

async function load() {
  try {
    const answer = await api.get("views");
    known = Array.isArray(answer) ? answer : (answer?.views ?? []);
  } catch {
    // The menu shows those that are known.
  }
  return known;
}

/** @param {Element} anchor */
export async function openViews(anchor) {
  const views = await load();
  openMenu(anchor, [
    ...(views.length ? views.map((one) => ({ label: one.name, run: () => show(one) })) : [{ heading: "No saved views yet" }]),
    "-",
    { label: "Save this view…", disabled: api.saved, run: saveView },
    { label: "Manage views…", disabled: !views.length || api.saved, run: manage },
    { label: "Copy link", run: () => void copyLink() },
  ], { label: "Views" });
}

/** @param {SavedView} saved */
function show(saved) {
  const next = parse(String(saved.state?.address ?? ""));
  const { theme: _, ...rest } = next;
  change(rest);
  toast(`Showing “${saved.name}”.`, { timeout: 2000 });
}

/** Ask for a name and save the view under it. */
export function saveView() {
  const input = h("input", { type: "text", "aria-label": "Name of the view", placeholder: "Name", maxlength: "200" });
  const save = async () => {
    const name = input.value.trim();
    if (!name) return;
    try {
      await api.post("views", { name, state: { address: serialize({ ...view.value, chosen: true }) } });
      toast(`Saved as “${name}”.`);
    } catch (error) {
      toast(`The view was not saved: ${/** @type {Error} */ (error).message}`, { kind: "error" });
    }
  };
  const { close } = openDialog({ title: "Save this view", body: h("div", { class: "stack" }, h("p", { class: "muted" }, "Runs, columns, filters, charts, axes and zoom, as they are now."), input),
    actions: [{ label: "Cancel" }, { label: "Save", primary: true, run: () => void save() }] });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    close();
    void save();
  });
  input.focus();
}

function manage() {
  const list = h("div", { class: "stack" });
  const fill = () => replace(list, known.map((one) => h("div", { class: "view-row" }, h("bdi", { class: "grow" }, one.name), h("button", { type: "button", class: "danger", on: { click: () => void drop(one) } }, "Delete"))));
  const drop = async (/** @type {SavedView} */ one) => {
    try {
      await api.delete(`views/${encodeURIComponent(one.id)}`);
      known = known.filter((other) => other !== one);
      fill();
      toast(`Deleted “${one.name}”.`, { action: { label: "Undo", run: () => void api.post("views", { name: one.name, state: one.state }) } });
    } catch (error) {
      toast(`The view was not deleted: ${/** @type {Error} */ (error).message}`, { kind: "error" });
    }
  };
  fill();
  openDialog({ title: "Saved views", body: list });
}

/** Views are found by the palette. */
export function startViews() {
  if (!api.saved) setTimeout(() => whenVisible(() => void load()), 2000);
  addSource((text) => known.filter((one) => text && one.name.toLowerCase().includes(text)).map((one) => ({ kind: "View", label: one.name, run: () => show(one) })));
}
