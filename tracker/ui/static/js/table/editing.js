/**
 * Fields edited in place: a box over the cell for name, tags and notes, swatches for the colour.
 */
import { SERIES_DARK, SERIES_LIGHT, colorOf } from "../core/colors.js";
import { h } from "../core/dom.js";
import { edit, editEach, editable } from "../core/edits.js";
import { openPopover } from "../core/menu.js";
import { runAt, runs } from "../core/runs.js";
import { theme } from "../core/theme.js";
import { toast } from "../core/toast.js";

/** Said where runs cannot be edited. */
const READ_ONLY = "These runs are read-only here.";

/**
 * @param {Element} cell
 * @param {string} ref
 * @param {"name" | "notes" | "tags"} field
 */
export function editField(cell, ref, field) {
  if (!editable([ref])) return void toast(READ_ONLY);
  const run = runAt(ref);
  if (!run) return;
  const before = field === "tags" ? run.tags.join(", ") : (run[field] ?? "");
  const { width, left, top } = cell.getBoundingClientRect();
  const isLong = field === "notes";
  const box = isLong ? h("textarea", { rows: "4" }) : h("input", { type: "text", list: field === "tags" ? "all-tags" : null });
  box.value = before;
  box.setAttribute("aria-label", { name: "Name of the run", notes: "Notes", tags: "Tags, with commas between" }[field]);
  box.style.setProperty("width", `${Math.max(field === "name" ? 200 : 240, Math.min(width, 480))}px`);
  const save = () => {
    const text = box.value.trim();
    if (text === before.trim()) return;
    if (field === "tags") void edit([ref], { tags: [...new Set(text.split(",").map((tag) => tag.trim()).filter(Boolean))] }, `tags of ${run.name}`);
    else if (field === "name") text === "" ? toast("A run needs a name; the old one is kept.") : void edit([ref], { name: text }, `rename ${run.name}`);
    else void edit([ref], { notes: text }, `notes of ${run.name}`);
  };
  const popover = openPopover({ x: left, y: top - 5 }, h("div", { class: "editor" }, box,
    h("p", { class: "muted" }, field === "tags" ? "Tags, with commas between. Enter saves, Esc cancels." : isLong ? "Ctrl-Enter saves, Esc cancels." : "Enter saves, Esc cancels.")),
  { label: "Edit", onClose: (cancelled) => { if (!cancelled) save(); } });
  box.addEventListener("keydown", (/** @type {any} */ event) => {
    event.stopPropagation();
    if (event.key === "Enter" && (!isLong || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      popover.close();
    }
  });
  box.focus();
  box.select();
}

/**
 * Add tags to several runs, or take them away.
 * @param {import("../core/menu.js").Anchor} anchor
 * @param {string[]} refs
 */
export function editTags(anchor, refs) {
  if (!editable(refs)) return void toast(READ_ONLY);
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const tags of runs.peek().columns.get("tags") ?? []) for (const tag of tags ?? []) counts.set(tag, (counts.get(tag) ?? 0) + 1);
  const put = (/** @type {string} */ tag, /** @type {boolean} */ on) => void editEach(new Map(refs.map((ref) => {
    const now = runAt(ref)?.tags ?? [];
    return [ref, { tags: on ? [...new Set([...now, tag])] : now.filter((one) => one !== tag) }];
  })), `tag ${tag}`);
  const input = h("input", { type: "text", placeholder: "New tag", "aria-label": "New tag" });
  const has = (/** @type {string} */ tag) => refs.filter((ref) => runAt(ref)?.tags.includes(tag)).length;
  const row = (/** @type {string} */ tag) => h("label", null, h("input", {
    type: "checkbox", checked: has(tag) === refs.length, indeterminate: has(tag) > 0 && has(tag) < refs.length, on: { change: (/** @type {any} */ event) => put(tag, event.target.checked) },
  }), h("bdi", { class: "grow" }, tag));
  const list = h("div", { class: "filter-list" }, [...counts].sort((a, b) => b[1] - a[1]).slice(0, 50).map(([tag]) => row(tag)));
  input.addEventListener("keydown", (event) => {
    const tag = input.value.trim();
    if (event.key !== "Enter" || tag === "") return;
    put(tag, true);
    if (!counts.has(tag)) list.prepend(row(tag));
    input.value = "";
  });
  openPopover(anchor, h("div", { class: "filter" }, h("div", { class: "filter-title" }, h("h3", null, refs.length === 1 ? "Tags" : `Tags of ${refs.length} runs`)), input, list), { label: "Tags" });
  input.focus();
}

/**
 * @param {import("../core/menu.js").Anchor} anchor
 * @param {string[]} refs
 */
export function editColor(anchor, refs) {
  if (!editable(refs)) return void toast(READ_ONLY);
  const colors = theme.value === "dark" ? SERIES_DARK : SERIES_LIGHT;
  const put = (/** @type {string | null} */ color) => {
    popover.close();
    void edit(refs, { color }, "colour");
  };
  const [first] = refs;
  const custom = h("input", { type: "color", "aria-label": "Any colour", title: "Any colour", value: first ? colorOf(first).css : "#000000", on: { change: (/** @type {any} */ event) => put(event.target.value) } });
  const popover = openPopover(anchor, h("div", { class: "colors" }, colors.map((color, at) => h("button", {
    type: "button", class: "color", "aria-label": `Colour ${at + 1}`, style: { background: color }, on: { click: () => put(`series-${at + 1}`) },
  })), custom, h("button", { type: "button", on: { click: () => put(null) } }, "By id")), { label: "Colour" });
}
