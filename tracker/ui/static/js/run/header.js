/**
 * The head of a run's page: name, id, state, facts, tags, notes; the runs before and after it.
 */
import { h, replace } from "../core/dom.js";
import { ago, duration, moment, plural, whole } from "../core/format.js";
import { colorOf, palette } from "../core/colors.js";
import { openMenu } from "../core/menu.js";
import { edit, editable } from "../core/edits.js";
import { meta, runAt, runs } from "../core/runs.js";
import { change, view } from "../core/state.js";
import { copyButton, copyText } from "./copy.js";
import { inlineText, tagList } from "./fields.js";
import { stateMark } from "./states.js";

/** @typedef {import("./data.js").RunData} RunData */

/**
 * @param {HTMLElement} node
 * @param {RunData} data
 * @param {{previous: () => void, next: () => void}} move
 * @returns {() => void} ends it
 */
export function mountHeader(node, data, move) {
  const { ref } = data;
  const canWrite = () => editable([ref]);
  const swatch = h("span", { class: "run-swatch", "aria-hidden": "true" });
  const name = inlineText({
    label: "Name", class: "run-name", empty: "Unnamed", editable: canWrite,
    save: (text) => edit([ref], { name: text }, "rename"),
  });
  name.node.setAttribute("role", "heading");
  name.node.setAttribute("aria-level", "1");
  const notes = inlineText({
    label: "Notes", class: "run-notes", empty: "Add notes", multiline: true, editable: canWrite,
    save: (text) => edit([ref], { notes: text }, "notes"),
  });
  const tags = tagList({
    editable: canWrite,
    save: (list) => edit([ref], { tags: list }, "tags"),
  });
  const facts = h("dl", { class: "run-facts" });
  const more = h("button", { type: "button", "aria-haspopup": "menu", on: { click: () => openActions(more, data) } }, "Copy ▾");
  const selectIt = h("button", { type: "button", on: { click: () => toggleSelected(ref) } });
  replace(node,
    h("div", { class: "run-title" }, swatch, name.node, h("span", { class: "grow" }),
      selectIt, more,
      h("span", { class: "run-move" },
        h("button", { type: "button", class: "icon", "aria-label": "Previous run", title: "Previous run (k)", on: { click: move.previous } }, "↑"),
        h("button", { type: "button", class: "icon", "aria-label": "Next run", title: "Next run (j)", on: { click: move.next } }, "↓"))),
    facts,
    h("div", { class: "run-words" }, tags.node, notes.node));
  const show = () => {
    const run = data.details.value;
    if (!run) return;
    // The table has an edit at once, the details only after the server has taken it.
    const known = runAt(ref) ?? run;
    name.set(known.name);
    notes.set(known.notes ?? "");
    tags.set(known.tags ?? []);
    replace(facts, factsOf(run));
  };
  const showColor = () => {
    swatch.style.setProperty("background", colorOf(ref).css);
    const on = view.value.runs.includes(ref);
    selectIt.textContent = on ? "Selected" : "Select";
    selectIt.setAttribute("aria-pressed", String(on));
    selectIt.title = on ? "Shown in charts and in compare; click to remove it" : "Show it in charts and in compare";
  };
  show();
  showColor();
  const ends = [data.details.subscribe(show), palette.subscribe(showColor), view.subscribe(showColor), meta.subscribe(show), runs.subscribe(show)];
  return () => ends.forEach((end) => end());
}

/** @param {string} ref selects the run, or removes it from the selection */
export function toggleSelected(ref) {
  const { runs } = view.peek();
  change({ runs: runs.includes(ref) ? runs.filter((one) => one !== ref) : [...runs, ref], chosen: true });
}

/**
 * @param {any} run
 * @returns {HTMLElement[]}
 */
function factsOf(run) {
  const end = run.end_time ?? (run.state === "running" ? run.now : run.last_time);
  const hosts = [...new Set(Object.values(run.writers ?? {}).map((/** @type {any} */ writer) => writer.host).filter(Boolean))];
  /** @type {[string, any, string?][]} */
  const facts = [
    ["State", stateMark(run.state)],
    ["Id", h("span", { class: "run-id" }, h("code", null, run.id), copyButton(() => run.id, "the id"))],
    ["Project", run.project], ["Group", run.group], ["Job type", run.job_type],
    ["Started", run.start_time ? h("time", { title: moment(run.start_time) }, ago(run.start_time, run.now)) : null],
    ["Duration", run.start_time && end ? duration(end - run.start_time) : null],
    ["Step", run.step === null ? null : whole(run.step)],
    ["Points", run.points ? whole(run.points) : null],
    [hosts.length > 1 ? "Hosts" : "Host", hosts.length > 3 ? plural(hosts.length, "host") : hosts.join(", "), hosts.join(", ")],
  ];
  return facts.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([label, value, title]) =>
    h("div", null, h("dt", null, label), h("dd", { title: title ?? (typeof value === "string" ? value : null) }, value)));
}

/**
 * @param {HTMLElement} anchor
 * @param {RunData} data
 */
function openActions(anchor, data) {
  const run = data.details.peek();
  if (!run) return;
  const place = String(run.dir);
  const root = place.includes("://") ? place : place.replace(/\/runs\/[^/]*\/?$/, "");
  const shell = (/** @type {string} */ text) => (/^[\w./:+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const command = `tracker show ${run.id} --dir ${shell(root)}`;
  const python = `import tracker\n\nrun = tracker.Api(${JSON.stringify(root)}).run(${JSON.stringify(run.id)})\nrun.config, run.summary\nrun.history()\n`;
  openMenu(anchor, [
    { label: "Command: tracker show", run: () => void copyText(command, "the command") },
    { label: "Python: tracker.Api", run: () => void copyText(python, "the Python code") },
    { label: "Id", run: () => void copyText(run.id, "the id") },
    { label: place.includes("://") ? "Address of the server" : "Path of the directory", run: () => void copyText(place, "the path") },
    { label: "Config as JSON", run: () => void copyText(JSON.stringify(run.config, null, 2), "the config") },
    { label: "Summary as JSON", run: () => void copyText(JSON.stringify(run.summary, null, 2), "the summary") },
    { label: "Address of this view", run: () => void copyText(location.href, "the address") },
  ], { label: "Copy" });
}
