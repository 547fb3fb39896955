/**
 * Files of a run: their address, their content as far as it may be shown, and a dialog that shows it.
 */
import { api } from "../core/api.js";
import { h } from "../core/dom.js";
import { openDialog } from "../core/dialog.js";
import { bytes } from "../core/format.js";
import { copyButton } from "./copy.js";

/** @typedef {{number: number, name: string, size: number, modified: number}} FileEntry */

/** Types of images that a page may show; the server says them by the content of the file, not by its name. */
const IMAGE_TYPES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);
const IMAGE_NAMES = /\.(png|jpe?g|gif|webp)$/i;
/** HTML and SVG: drawn in a sandboxed frame. */
const FRAMED_NAMES = /\.(html?|svg)$/i;
/** Files of these names are shown as text. HTML and SVG too, as their source. */
const TEXT_NAMES = /\.(txt|md|log|json|jsonl|ya?ml|toml|cfg|ini|csv|tsv|py|sh|js|ts|c|h|cc|cpp|rs|go|java|xml|html?|svg|diff|patch|tex)$/i;
/** Largest image and most of a text that is loaded, in bytes. */
const MAX_IMAGE = 32e6;
const MAX_TEXT = 256 * 1024;

/** @param {string} name */
export const isImage = (name) => IMAGE_NAMES.test(name);
/** @param {string} name */
const isFramed = (name) => FRAMED_NAMES.test(name);
/** @param {string} name */
export const isText = (name) => TEXT_NAMES.test(name);

/**
 * The address that downloads a file.
 * @param {string} ref
 * @param {FileEntry} file
 */
export function downloadUrl(ref, file) {
  return api.url(`runs/${encodeURIComponent(ref)}/files/${file.number}`, { name: file.name });
}

/**
 * An address of the page's own for an image.
 * @param {string} ref
 * @param {FileEntry} file
 * @returns {Promise<string | null>} null if it is not an image that may be shown
 */
export async function fileUrl(ref, file) {
  if (file.size > MAX_IMAGE) return null;
  try {
    const response = await fetch(downloadUrl(ref, file), { credentials: "same-origin" });
    const type = response.headers.get("Content-Type") ?? "";
    if (!response.ok || !IMAGE_TYPES.has(type)) return null;
    return URL.createObjectURL(new Blob([await response.arrayBuffer()], { type }));
  } catch {
    return null;
  }
}

/**
 * The beginning of a file as text.
 * @param {string} ref
 * @param {FileEntry} file
 * @returns {Promise<string>}
 */
async function fileText(ref, file) {
  const headers = file.size > MAX_TEXT ? { Range: `bytes=0-${MAX_TEXT - 1}` } : undefined;
  const response = await fetch(downloadUrl(ref, file), { credentials: "same-origin", headers });
  if (!response.ok) throw new Error(`The file cannot be read: the server answered with status ${response.status}.`);
  return new TextDecoder().decode(await response.arrayBuffer());
}

/**
 * Logged HTML or SVG in a frame of its own origin: its scripts run, but reach neither this page nor any network.
 * @param {string} ref
 * @param {FileEntry} file
 * @returns {HTMLElement}
 */
export function frameOf(ref, file) {
  const src = api.url(`runs/${encodeURIComponent(ref)}/frames/${file.number}`, { name: file.name });
  return h("iframe", { class: "file-frame", sandbox: "allow-scripts", referrerpolicy: "no-referrer", loading: "lazy", title: file.name, src });
}

/**
 * The beginning of a file, as text with a button to copy it.
 * @param {string} ref
 * @param {FileEntry} file
 * @returns {Promise<Node[]>}
 */
async function source(ref, file) {
  const text = await fileText(ref, file);
  const note = file.size > MAX_TEXT ? [h("p", { class: "muted" }, `The first ${bytes(MAX_TEXT)} of ${bytes(file.size)}.`)] : [];
  return [...note, h("div", { class: "traceback" }, copyButton(() => text, "the text"), h("pre", { tabindex: "0" }, text))];
}

/**
 * Several views of one thing with a button each; the first is shown.
 * @param {[string, () => Promise<Node[]>][]} choices
 * @returns {HTMLElement[]}
 */
function views(choices) {
  const content = h("div", { class: "file-content" });
  const buttons = choices.map(([label, make]) => h("button", { type: "button", class: "control-segment", on: { click: () => void show(label, make) } }, label));
  const show = async (/** @type {string} */ label, /** @type {() => Promise<Node[]>} */ make) => {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.textContent === label));
    const nodes = await make().catch((error) => [h("p", { class: "bad" }, error.message)]);
    if (buttons.some((button) => button.textContent === label && button.getAttribute("aria-pressed") === "true")) content.replaceChildren(...nodes);
  };
  const [first] = choices;
  if (first) void show(...first);
  return [h("div", { class: "control-segments file-views", role: "group", "aria-label": "View" }, buttons), content];
}

/**
 * Show a file in a dialog.
 * @param {string} ref
 * @param {FileEntry} file
 */
export function openFile(ref, file) {
  const body = h("div", { class: "file-view" }, h("p", { class: "muted" }, "Loading…"));
  let url = "";
  openDialog({
    title: file.name, wide: true, body,
    actions: [{ label: `Download (${bytes(file.size)})`, run: () => { save(ref, file); return false; } }, { label: "Close" }],
    onClose: () => URL.revokeObjectURL(url),
  });
  const fill = async () => {
    if (isImage(file.name)) {
      url = (await fileUrl(ref, file)) ?? "";
      body.replaceChildren(url ? h("img", { src: url, alt: file.name }) : h("p", { class: "muted" }, "This file is not an image that can be shown."));
    } else if (isFramed(file.name)) body.replaceChildren(...views([["Rendered", async () => [frameOf(ref, file)]], ["Source", () => source(ref, file)]]));
    else body.replaceChildren(...await source(ref, file));
  };
  fill().catch((error) => body.replaceChildren(h("p", { class: "bad" }, error.message)));
}

/**
 * @param {string} ref
 * @param {FileEntry} file
 */
export function save(ref, file) {
  const link = h("a", { href: downloadUrl(ref, file), download: file.name.split("/").at(-1) ?? "file" });
  document.body.append(link);
  link.click();
  link.remove();
}
