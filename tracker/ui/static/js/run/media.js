/**
 * Media of a run: histograms over steps, text series, and files that are images.
 */
import { api } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { bytes, plural } from "../core/format.js";
import { mountHeatmap } from "./heatmap.js";
import { fileUrl, isImage, openFile } from "./filedata.js";
import { listTexts } from "./text.js";

/** Images loaded at first; the rest on demand. */
const IMAGES = 24;

/** @typedef {import("./data.js").RunData} RunData */

/**
 * @param {HTMLElement} node
 * @param {{data: RunData}} context
 * @returns {() => void} ends it
 */
export function mountMedia(node, { data }) {
  const empty = h("div", { class: "empty" }, h("strong", null, "No media"),
    h("p", null, "Histograms and text appear here when they are logged: ", h("code", null, 'run.log({"weights": tracker.Histogram(values)})'), ". Images and other media objects are not recorded yet; image files saved with ", h("code", null, "run.save"), " are shown."));
  const heatmaps = h("div", { class: "media-grid" });
  const texts = h("div", { class: "text-sections" });
  const images = h("section", { class: "card", "aria-label": "Images" });
  images.hidden = true;
  replace(node, empty, heatmaps, texts, images);
  /** @type {Map<string, {load: () => void, end: () => void}>} */
  const mounted = new Map();
  let some = false;
  const show = () => {
    const keys = data.keys.value;
    if (!keys) return;
    for (const { key, kind } of keys) {
      if (kind !== "histogram" || mounted.has(key)) continue;
      const card = h("section", { class: "card", "aria-label": key });
      heatmaps.append(card);
      mounted.set(key, mountHistogram(card, data, key));
    }
    empty.hidden = some || keys.some((one) => one.kind === "histogram" || one.kind === "text");
  };
  show();
  const endTexts = listTexts(texts, data, () => true);
  const endImages = mountImages(images, data, () => {
    some = true;
    empty.hidden = true;
  });
  let seen = data.details.peek()?.points;
  const ends = [data.keys.subscribe(show), data.details.subscribe((run) => {
    if (!run || run.points === seen) return;
    seen = run.points;
    mounted.forEach((one) => one.load());
  }), endTexts, endImages];
  return () => {
    ends.forEach((end) => end());
    mounted.forEach((one) => one.end());
  };
}

/**
 * @param {HTMLElement} node
 * @param {RunData} data
 * @param {string} key
 */
function mountHistogram(node, data, key) {
  const body = h("div", null, h("p", { class: "muted card-empty" }, "Loading…"));
  replace(node, h("header", { class: "card-head" }, h("h2", { title: key }, key)), body);
  /** @type {ReturnType<typeof mountHeatmap> | null} */
  let map = null;
  let busy = false;
  const load = async () => {
    if (busy) return;
    busy = true;
    try {
      const answer = await data.get("histograms", { key, count: 200 });
      map ??= mountHeatmap(body, key);
      map.set(answer);
    } catch (error) {
      if (!map) replace(body, h("p", { class: "bad card-empty" }, /** @type {Error} */ (error).message));
    } finally {
      busy = false;
    }
  };
  void load();
  return { load: () => void load(), end: () => map?.end() };
}

/**
 * @param {HTMLElement} node
 * @param {RunData} data
 * @param {() => void} found called if there are images
 * @returns {() => void} ends it
 */
function mountImages(node, data, found) {
  /** @type {string[]} */
  const urls = [];
  let closed = false;
  const load = async () => {
    // A saved file has no content of files.
    if (api.saved) return;
    const answer = await data.get("files").catch(() => null);
    const files = /** @type {import("./filedata.js").FileEntry[]} */ (answer?.files ?? []).filter((file) => isImage(file.name));
    if (closed || !files.length) return;
    found();
    node.hidden = false;
    const list = h("div", { class: "image-grid" });
    replace(node, h("header", { class: "card-head" }, h("h2", null, "Images among the files"), h("span", { class: "muted" }, plural(files.length, "file"))), list);
    const add = async (/** @type {number} */ from) => {
      for (const file of files.slice(from, from + IMAGES)) {
        const figure = h("figure", { class: "image" }, h("figcaption", { title: file.name }, file.name, h("span", { class: "muted" }, ` ${bytes(file.size)}`)));
        list.append(figure);
        const url = await fileUrl(data.ref, file);
        if (closed) return;
        if (!url) {
          figure.prepend(h("p", { class: "muted" }, "This file is not an image that can be shown."));
          continue;
        }
        urls.push(url);
        figure.prepend(h("button", { type: "button", class: "image-button", "aria-label": `Enlarge ${file.name}`, on: { click: () => openFile(data.ref, file) } }, h("img", { src: url, alt: file.name, loading: "lazy" })));
      }
      if (from + IMAGES < files.length) {
        const button = h("button", { type: "button", on: { click: () => { button.remove(); void add(from + IMAGES); } } }, `Show ${Math.min(IMAGES, files.length - from - IMAGES)} more of ${plural(files.length, "image")}`);
        node.append(button);
      }
    };
    await add(0);
  };
  void load();
  return () => {
    closed = true;
    urls.forEach((url) => URL.revokeObjectURL(url));
  };
}
