/**
 * Fields edited in place: a box over the cell for name, tags and notes, swatches for the color.
 */
import { colorOf, namedColor } from "../core/colors.js";
import { h } from "../core/dom.js";
import { edit, editEach, editable } from "../core/edits.js";
import { openPopover } from "../core/menu.js";
import { runAt, runs } from "../core/runs.js";
import { NAMED } from "../core/palette10.js";
import { toast } from "../core/toast.js";

/** Message for runs that cannot be edited. */
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
  box.setAttribute("aria-label", { name: "Name of the run", notes: "Notes", tags: "Tags, separated by commas" }[field]);
  box.style.setProperty("width", `${Math.max(field === "name" ? 200 : 240, Math.min(width, 480))}px`);
  const save = () => {
    const text = box.value.trim();
    if (text === before.trim()) return;
    if (field === "tags") void edit([ref], { tags: [...new Set(text.split(",").map((tag) => tag.trim()).filter(Boolean))] }, `tags of ${run.name}`);
    else if (field === "name") text === "" ? toast("A run must have a name; the old one is kept.") : void edit([ref], { name: text }, `rename ${run.name}`);
    else void edit([ref], { notes: text }, `notes of ${run.name}`);
  };
  const popover = openPopover({ x: left, y: top - 5 }, h("div", { class: "editor" }, box,
    h("p", { class: "muted" }, field === "tags" ? "Separate tags by commas. Enter saves, Esc cancels." : isLong ? "Ctrl-Enter saves, Esc cancels." : "Enter saves, Esc cancels.")),
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
 * Add tags to several runs, or remove them.
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
  const put = (/** @type {string | null} */ color) => {
    popover.close();
    void edit(refs, { color }, "color");
  };
  const [first] = refs;
  const custom = h("input", { type: "color", "aria-label": "Any color", title: "Any color", value: first ? colorOf(first).css : "#000000", on: { change: (/** @type {any} */ event) => put(event.target.value) } });
  const popover = openPopover(anchor, h("div", { class: "colors" }, Object.keys(NAMED).map((name) => h("button", {
    type: "button", class: "color", title: capitalized(name), "aria-label": capitalized(name), style: { background: namedColor(name) ?? "" }, on: { click: () => put(name) },
  })), custom, h("button", { type: "button", on: { click: () => put(null) } }, "Automatic")), { label: "Color" });
}

/** @param {string} word */
const capitalized = (word) => word.charAt(0).toUpperCase() + word.slice(1);
