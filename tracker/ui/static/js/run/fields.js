/**
 * Fields that are edited in place: a text, a list of tags. Enter or leaving the field saves, Escape cancels.
 */
import { h, replace } from "../core/dom.js";

/**
 * @typedef {object} TextOptions
 * @property {string} label for screen readers
 * @property {string} class
 * @property {string} empty shown where there is no text
 * @property {boolean} [multiline]
 * @property {() => boolean} editable
 * @property {(text: string) => unknown} save the new text comes back by `set`
 */

/**
 * @param {TextOptions} options
 * @returns {{node: HTMLElement, set: (text: string) => void}}
 */
export function inlineText(options) {
  let text = "";
  let editing = false;
  const node = h("div", { class: `inline-text ${options.class}` });
  const show = () => {
    if (editing) return;
    const content = text || (options.editable() ? options.empty : "");
    node.classList.toggle("is-empty", !text);
    node.hidden = !content;
    if (!options.editable()) {
      replace(node, h("span", { class: "inline-shown", title: text }, content));
      return;
    }
    replace(node, h("button", {
      type: "button", class: "inline-shown", "aria-label": text ? `${options.label}: ${text}. Edit` : options.empty, title: text ? `${text}\n(click to edit)` : null,
      on: { click: begin },
    }, content));
  };
  const begin = () => {
    editing = true;
    const field = options.multiline ? h("textarea", { rows: Math.min(8, text.split("\n").length + 1) }) : h("input", { type: "text" });
    field.value = text;
    field.setAttribute("aria-label", options.label);
    let done = false;
    const end = (/** @type {boolean} */ keep, /** @type {boolean} */ focus) => {
      if (done) return;
      done = true;
      editing = false;
      const next = options.multiline ? field.value.trimEnd() : field.value.trim();
      if (keep && next !== text && (next || options.multiline)) {
        text = next;
        options.save(next);
      }
      show();
      if (focus) node.querySelector("button")?.focus();
    };
    field.addEventListener("keydown", (event) => {
      const key = /** @type {KeyboardEvent} */ (event);
      if (key.key === "Escape") end(false, true);
      else if (key.key === "Enter" && (!options.multiline || key.ctrlKey || key.metaKey)) end(true, true);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    field.addEventListener("blur", () => end(true, false));
    replace(node, field);
    field.focus();
    field.select();
  };
  return {
    node,
    set: (value) => {
      text = value;
      show();
    },
  };
}

/**
 * @param {{editable: () => boolean, save: (tags: string[]) => unknown}} options
 * @returns {{node: HTMLElement, set: (tags: string[]) => void}}
 */
export function tagList(options) {
  /** @type {string[]} */
  let tags = [];
  let adding = false;
  const node = h("div", { class: "tag-list", role: "group", "aria-label": "Tags" });
  const put = (/** @type {string[]} */ next) => {
    tags = next;
    options.save(next);
    show();
  };
  const show = () => {
    if (adding) return;
    const editable = options.editable();
    node.hidden = !editable && !tags.length;
    replace(node, tags.map((tag) => h("span", { class: "tag", title: tag }, h("span", { class: "tag-text" }, tag),
      editable ? h("button", { type: "button", "aria-label": `Remove tag ${tag}`, on: { click: () => put(tags.filter((one) => one !== tag)) } }, "✕") : null)),
    editable ? h("button", { type: "button", class: "tag-add", on: { click: begin } }, tags.length ? "+" : "Add tag") : null);
    node.querySelector(".tag-add")?.setAttribute("aria-label", "Add tag");
  };
  const begin = () => {
    adding = true;
    const field = h("input", { type: "text", class: "tag-field", "aria-label": "New tag", placeholder: "tag" });
    const end = (/** @type {boolean} */ keep) => {
      if (!adding) return;
      adding = false;
      const tag = field.value.trim();
      if (keep && tag && !tags.includes(tag)) put([...tags, tag]);
      else show();
      /** @type {HTMLElement | null} */ (node.querySelector(".tag-add"))?.focus();
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") end(true);
      else if (event.key === "Escape") end(false);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    field.addEventListener("blur", () => end(true));
    node.querySelector(".tag-add")?.replaceWith(field);
    field.focus();
  };
  return {
    node,
    set: (list) => {
      tags = list;
      show();
    },
  };
}
