/**
 * Text series as tables of steps: pages of rows in the order of steps, a jump to a step, long texts folded.
 */
import { api } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { moment, whole } from "../core/format.js";
import { change, view } from "../core/state.js";
import { copyButton } from "./copy.js";

/** Rows in a page. */
const PAGE = 50;
/** Lines and characters of a text that are shown before it is folded. */
const LINES = 12;
const CHARACTERS = 1200;

/** @typedef {import("./data.js").RunData} RunData */

/**
 * A section for each text series of a run that `pick` takes.
 * @param {HTMLElement} node
 * @param {RunData} data
 * @param {(key: string) => boolean} pick
 * @returns {() => void} ends it
 */
export function listTexts(node, data, pick) {
  /** @type {Map<string, () => void>} */
  const mounted = new Map();
  const show = () => {
    for (const { key, kind } of data.keys.value ?? []) {
      if (kind !== "text" || !pick(key) || mounted.has(key)) continue;
      const section = h("section", { class: "card text-card", "aria-label": key });
      node.append(section);
      mounted.set(key, mountText(section, data, key));
    }
  };
  show();
  const end = data.keys.subscribe(show);
  return () => {
    end();
    mounted.forEach((close) => close());
  };
}

/**
 * @param {HTMLElement} node
 * @param {RunData} data
 * @param {string} key
 * @returns {() => void} ends it
 */
function mountText(node, data, key) {
  const option = `step ${key}`;
  const body = h("tbody");
  const more = h("div", { class: "card-empty" });
  const jump = h("input", { type: "number", class: "step-field", "aria-label": `First step of ${key}`, placeholder: "step" });
  jump.value = view.peek().options[option] ?? "";
  /** @type {string | null} */
  let next = null;
  let rows = 0;
  let labels = false;
  let busy = false;
  let closed = false;
  let atEnd = false;

  const load = async (/** @type {boolean} */ fresh) => {
    if (busy) return;
    busy = true;
    try {
      const start = jump.value === "" ? null : Number(jump.value);
      const answer = await data.get("text", { key, limit: PAGE, after: fresh ? null : next, start: fresh ? start : null });
      if (closed) return;
      if (fresh) {
        replace(body);
        rows = 0;
      }
      next = answer.next ?? next;
      atEnd = answer.next === null;
      labels ||= answer.rows.some((/** @type {any} */ row) => row.label);
      body.append(...answer.rows.map((/** @type {any} */ row) => rowOf(row)));
      rows += answer.rows.length;
      showMore("");
    } catch (error) {
      if (!closed) showMore(/** @type {Error} */ (error).message);
    } finally {
      busy = false;
    }
  };
  const rowOf = (/** @type {any} */ row) => h("tr", null,
    h("th", { scope: "row", class: "num", title: moment(row.time) }, whole(row.step), row.label ? h("div", { class: "muted" }, row.label) : null),
    h("td", null, textBlock(row.text, row.length, async () => {
      const answer = await data.get("text", { key, start: row.step, limit: PAGE, characters: 2 ** 21 });
      return answer.rows.find((/** @type {any} */ one) => one.step === row.step && one.text.startsWith(row.text))?.text ?? row.text;
    })));
  const showMore = (/** @type {string} */ problem) => {
    const from = jump.value === "" ? "" : ` from step ${jump.value} on`;
    replace(more, problem ? h("span", { class: "bad" }, problem) : null,
      !problem && !rows ? `No text${from}.` : null,
      !atEnd ? h("button", { type: "button", on: { click: () => void load(false) } }, "Show more") : null);
    more.hidden = !more.childNodes.length;
  };
  jump.addEventListener("change", () => {
    const { [option]: _, ...rest } = view.peek().options;
    change({ options: jump.value === "" ? rest : { ...rest, [option]: jump.value } }, { undo: false, replace: true });
    void load(true);
  });
  replace(node, h("header", { class: "card-head" }, h("h2", { title: key }, key), h("span", { class: "grow" }), api.saved ? h("span", { class: "muted" }, "The first rows, as saved") : h("label", { class: "muted" }, "From step ", jump)),
    h("table", { class: "text-table" }, h("colgroup", null, h("col", { class: "step-column" }), h("col")), h("thead", { class: "sr" }, h("tr", null, h("th", { scope: "col" }, "Step"), h("th", { scope: "col" }, "Text"))), body), more);
  void load(true);
  let seen = data.details.peek()?.points;
  const end = data.details.subscribe((run) => {
    // New rows are taken in where they follow the last one; what is on the screen does not move.
    if (run && run.points !== seen) {
      seen = run.points;
      if (atEnd && rows < PAGE) void load(true);
      else if (atEnd) { atEnd = false; showMore(""); }
    }
  });
  return () => {
    closed = true;
    end();
  };
}

/**
 * A text as it was logged; a long one is folded.
 * @param {string} text
 * @param {number | undefined} length its whole length, if `text` is only its beginning
 * @param {() => Promise<string>} whole_ loads all of it
 * @returns {HTMLElement}
 */
function textBlock(text, length, whole_) {
  let content = text;
  let open = false;
  const lines = text.split("\n");
  const long = length !== undefined || lines.length > LINES || text.length > CHARACTERS;
  const pre = h("pre", { class: "text-value" });
  const fold = h("button", { type: "button", class: "link" });
  const show = () => {
    const cut = lines.slice(0, LINES).join("\n").slice(0, CHARACTERS);
    pre.textContent = open || !long ? content : `${cut}…`;
    fold.textContent = open ? "Show less" : `Show all (${whole(length ?? text.length)} characters)`;
    fold.setAttribute("aria-expanded", String(open));
  };
  fold.addEventListener("click", async () => {
    if (!open && length !== undefined && content === text) {
      fold.disabled = true;
      content = await whole_().catch(() => text);
      fold.disabled = false;
    }
    open = !open;
    show();
  });
  show();
  return h("div", { class: "text-block" }, pre, h("div", { class: "text-tools" }, long ? fold : null, copyButton(() => content, "the text")));
}
