/**
 * The files of a run, with a search; artifacts have their place here.
 */
import { api } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { ago, bytes, moment, plural } from "../core/format.js";
import { downloadUrl, isImage, isText, openFile } from "./filedata.js";

/** Number of rows rendered at first; the others on demand. */
const MANY = 300;

/**
 * @param {HTMLElement} node
 * @param {{data: import("./data.js").RunData}} context
 * @returns {() => void} ends it
 */
export function mountFiles(node, { data }) {
  /** @type {import("./filedata.js").FileEntry[]} */
  let files = [];
  let leftOut = 0;
  let all = false;
  let text = "";
  const count = h("span", { class: "muted" });
  const search = h("input", { type: "search", placeholder: "Search files", "aria-label": "Search files", on: { input: () => show() } });
  const body = h("tbody");
  const table = h("table", { class: "file-table" }, h("thead", null, h("tr", null, h("th", { scope: "col" }, "Name"), h("th", { scope: "col", class: "num" }, "Size"), h("th", { scope: "col" }, "Changed"), h("th", { scope: "col" }, h("span", { class: "sr" }, "Download")))), body);
  const rest = h("div", { class: "card-empty" });
  replace(node, h("section", { class: "card", "aria-label": "Files" }, h("header", { class: "card-head" }, h("h2", null, "Files"), count, h("span", { class: "grow" }), search), h("div", { class: "scroll-x" }, table), rest),
    h("section", { class: "card", "aria-label": "Artifacts" }, h("header", { class: "card-head" }, h("h2", null, "Artifacts")), h("p", { class: "muted card-empty" }, "Artifacts, with versions and lineage, are not recorded yet.")));

  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = files.filter((file) => words.every((word) => file.name.toLowerCase().includes(word)));
    const shown = all ? found : found.slice(0, MANY);
    search.hidden = files.length < 8;
    table.hidden = !found.length;
    const size = found.reduce((sum, file) => sum + file.size, 0);
    count.textContent = files.length ? `${words.length ? `${found.length} of ` : ""}${plural(files.length, "file")}, ${bytes(size)}` : "";
    const now = data.details.peek()?.now;
    replace(body, shown.map((file) => h("tr", null,
      h("th", { scope: "row", title: file.name }, !api.saved && (isImage(file.name) || isText(file.name)) ? h("button", { type: "button", class: "link file-name", on: { click: () => openFile(data.ref, file) } }, file.name) : h("span", { class: "file-name" }, file.name)),
      h("td", { class: "num", title: `${file.size} bytes` }, bytes(file.size)), h("td", { class: "muted", title: moment(file.modified) }, ago(file.modified, now)),
      h("td", null, api.saved ? null : h("a", { class: "download", href: downloadUrl(data.ref, file), download: file.name.split("/").at(-1) ?? "file", "aria-label": `Download ${file.name}` }, "Download")))));
    replace(rest,
      !files.length ? h("span", { class: "muted" }, "No files. ", h("code", null, "run.save(path)"), " stores one with the run.") : found.length ? null : `No file name contains “${search.value}”.`,
      found.length > shown.length ? h("button", { type: "button", class: "link", on: { click: () => { all = true; show(); } } }, `Show all ${plural(found.length, "file")}`) : null,
      leftOut ? h("p", { class: "muted" }, `${plural(leftOut, "entry is", "entries are")} not listed: links and special files are not followed, and at most 10,000 files are.`) : null);
    if (api.saved && files.length) rest.append(h("p", { class: "muted" }, "The saved file has the names of the files, not their content."));
    rest.hidden = !rest.childNodes.length;
  };
  const load = async () => {
    try {
      const answer = await data.get("files");
      const next = JSON.stringify(answer);
      if (next === text) return;
      text = next;
      files = answer.files;
      leftOut = answer.left_out;
      show();
    } catch (error) {
      if (!files.length) replace(rest, h("span", { class: "bad" }, /** @type {Error} */ (error).message));
    }
  };
  void load();
  let seen = data.details.peek()?.files;
  return data.details.subscribe((run) => {
    if (run && run.files !== seen) {
      seen = run.files;
      void load();
    }
  });
}
