/**
 * The overview of a run: how it ended, its summary and its config, then where it was executed and what was lost.
 */
import { h, replace } from "../core/dom.js";
import { ago, duration, moment, plural, whole } from "../core/format.js";
import { copyButton } from "./copy.js";
import { mountConfig } from "./config.js";
import { stateMark, stateMeaning } from "./states.js";
import { mountSummary } from "./summary.js";
import { lossesCard, sinksCard, writersCard } from "./writers.js";

/** @typedef {import("./data.js").RunData} RunData */

/**
 * @param {HTMLElement} node
 * @param {{data: RunData}} context
 * @returns {() => void} ends it
 */
export function mountOverview(node, { data }) {
  const ending = h("div", { class: "overview-ending" });
  const summary = h("section", { class: "card overview-summary", "aria-label": "Summary" });
  const config = h("section", { class: "card overview-config", "aria-label": "Config" });
  const below = h("div", { class: "overview-below" });
  replace(node, ending, h("div", { class: "overview-columns" }, summary, config), below);
  let shownEnding = "";
  let shownBelow = "";
  const show = () => {
    const run = data.details.value;
    if (!run) return;
    // Only what changed is made again, so that a selection and the focus stay while the run is live.
    const end = JSON.stringify([run.state, run.exit_code, run.signal, run.reason, run.traceback, run.losses]);
    if (end !== shownEnding) {
      shownEnding = end;
      replace(ending, endingOf(run));
    }
    const rest = JSON.stringify([run.writers, run.losses, run.sinks, run.dir]);
    if (rest !== shownBelow) {
      shownBelow = rest;
      replace(below, writersCard(run), commandCard(run), sinksCard(run), lossesCard(run));
    }
  };
  show();
  const ends = [data.details.subscribe(show), mountSummary(summary, data), mountConfig(config, data)];
  return () => ends.forEach((end) => end());
}

/**
 * How the run ended and why; nothing for a run that is running or finished.
 * @param {any} run
 * @returns {HTMLElement[]}
 */
function endingOf(run) {
  const parts = [];
  const lost = Object.values(run.losses ?? {}).reduce((/** @type {number} */ sum, /** @type {any} */ n) => sum + n, 0);
  if (["failed", "killed", "crashed", "preempted", "stalled", "unreadable"].includes(run.state)) {
    const code = run.exit_code !== null && run.exit_code !== undefined && run.exit_code !== 0 ? `exit code ${run.exit_code}` : "";
    const by = run.signal ? `signal ${run.signal}` : "";
    const since = run.state === "stalled" && run.last_time ? `Its last record is from ${moment(run.last_time)} (${ago(run.last_time, run.now)}).` : "";
    const at = run.end_time && run.start_time ? `after ${duration(run.end_time - run.start_time)}` : "";
    parts.push(h("section", { class: `card notice-card ${run.state === "stalled" || run.state === "preempted" ? "warn" : "bad"}`, "aria-label": "How it ended" },
      h("p", { class: "ending-line" }, stateMark(run.state), h("span", null, [at, code, by].filter(Boolean).join(", ")),
        h("strong", { class: "ending-reason" }, run.reason ?? ""), h("span", { class: "muted" }, run.reason ? "" : stateMeaning(run.state), " ", since)),
      run.state === "unreadable" ? h("p", { class: "muted" }, "Its files may be damaged or not readable by this user. The check on the tab Log health says more.") : null,
      run.traceback ? h("div", { class: "traceback" }, copyButton(() => run.traceback, "the traceback"), h("pre", { tabindex: "0", "aria-label": "Traceback" }, run.traceback.trimEnd())) : null));
  }
  if (lost) {
    parts.push(h("p", { class: "card notice-card warn" }, `${plural(lost, "record was", "records were")} lost: `,
      Object.entries(run.losses).map(([reason, n]) => `${whole(/** @type {number} */ (n))} ${reason}`).join(", "), "."));
  }
  return parts;
}

/**
 * The program, its Python, its directory.
 * @param {any} run
 * @returns {HTMLElement}
 */
function commandCard(run) {
  const writers = /** @type {any[]} */ (Object.values(run.writers ?? {}));
  const each = (/** @type {string} */ name) => [...new Set(writers.map((writer) => writer[name]).filter(Boolean))].map(String);
  /** @type {[string, string[]][]} */
  const rows = [["Program", each("program")], ["Python", each("python")], ["Host", each("host")], [String(run.dir).includes("://") ? "Server" : "Directory", [String(run.dir)]]];
  return h("section", { class: "card", "aria-label": "Program" }, h("header", { class: "card-head" }, h("h2", null, "Program")),
    h("dl", { class: "pairs" }, rows.filter(([, values]) => values.length).map(([label, values]) =>
      h("div", null, h("dt", null, label), h("dd", null, values.map((value) => h("span", { class: "pair-value" }, h("code", { title: value }, value), copyButton(() => value, label.toLowerCase()))))))));
}
