/**
 * Copying text, with a message.
 */
import { h, svg } from "../core/dom.js";
import { toast } from "../core/toast.js";

/**
 * @param {string} text
 * @param {string} what as in "Copied the id"
 */
export async function copyText(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Over plain HTTP from another machine the browser has no clipboard API.
    const area = h("textarea", { class: "sr", "aria-hidden": "true" });
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) {
      toast("The browser does not allow copying here.", { kind: "error" });
      return;
    }
  }
  toast(`Copied ${what}.`);
}

/**
 * A small button that copies.
 * @param {() => string} text
 * @param {string} what
 * @returns {HTMLButtonElement}
 */
export function copyButton(text, what) {
  return h("button", { type: "button", class: "icon copy", "aria-label": `Copy ${what}`, title: `Copy ${what}`, on: { click: () => void copyText(text(), what) } },
    svg("svg", { viewBox: "0 0 16 16", width: "13", height: "13", "aria-hidden": "true" }, svg("path", { d: "M5.5 5.5h8v8h-8zM3 10.5h-.5v-8h8V3", fill: "none", stroke: "currentColor", "stroke-width": "1.3", "stroke-linejoin": "round" })));
}

/**
 * Download a text as a file.
 * @param {string} text
 * @param {string} name
 * @param {string} type
 */
export function download(text, name, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
