/**
 * The health of a run's log: sizes, how far the store is behind, sinks, writers, losses; and a check of every record on demand.
 */
import { api } from "../core/api.js";
import { h, replace } from "../core/dom.js";
import { ago, bytes, duration, moment, plural, whole } from "../core/format.js";
import { lossesCard, sinksCard, writersCard } from "./writers.js";

/** Polling interval of a check, in milliseconds. */
const EVERY = 400;

/** @typedef {import("./data.js").RunData} RunData */

/**
 * @param {HTMLElement} node
 * @param {{data: RunData}} context
 * @returns {() => void} ends it
 */
export function mountHealth(node, { data }) {
  const facts = h("section", { class: "card", "aria-label": "Log and store" });
  const check = h("section", { class: "card", "aria-label": "Check" });
  const below = h("div", { class: "overview-below" });
  replace(node, facts, check, below);
  let shown = "";
  const show = () => {
    const run = data.details.value;
    if (!run) return;
    replace(facts, h("header", { class: "card-head" }, h("h2", null, "Log and store")), healthOf(run));
    check.hidden = !run.health;
    const rest = JSON.stringify([run.writers, run.losses, run.sinks]);
    if (rest === shown) return;
    shown = rest;
    replace(below, sinksCard(run) ?? emptyCard("Sinks", run.health ? "This run is not sent to a server." : "This run is read from a server."), lossesCard(run) ?? emptyCard("Losses", "No record was lost."), writersCard(run));
  };
  show();
  const ends = [data.details.subscribe(show), mountCheck(check, data)];
  return () => ends.forEach((end) => end());
}

/**
 * @param {string} title
 * @param {string} sentence
 */
function emptyCard(title, sentence) {
  return h("section", { class: "card", "aria-label": title }, h("header", { class: "card-head" }, h("h2", null, title)), h("p", { class: "card-empty good" }, sentence));
}

/**
 * @param {any} run
 * @returns {HTMLElement}
 */
function healthOf(run) {
  const health = run.health;
  if (!health) return h("p", { class: "muted card-empty" }, "This run is read from a server; its log is on another machine.");
  const behind = health.behind_bytes;
  const state = health.error ? h("span", { class: "bad" }, health.error)
    : health.store_bytes === null ? h("span", { class: "warn" }, "There is no store; `tracker rebuild` makes one from the log.")
      : behind === null ? h("span", { class: "warn" }, "There is no log; only the store is left.")
        : behind === 0 ? h("span", { class: "good" }, "It has everything that the log has.")
          : h("span", { class: health.held ? "" : "warn" }, health.held ? `It is ${bytes(behind)} behind the log, which is being written.` : `It is ${bytes(behind)} behind the log; \`tracker rebuild\` brings it up to date.`);
  /** @type {[string, string | Node][]} */
  const rows = [
    ["Transaction log", health.log_bytes === null ? h("span", { class: "bad" }, "missing") : `${bytes(health.log_bytes)}, the source of truth`],
    ["Store", health.store_bytes === null ? "missing" : bytes(health.store_bytes)],
    ["Store complete", state],
    ["Being written", health.held ? "yes, by a sidecar" : "no"],
    ["Last record", run.last_time ? `${moment(run.last_time)} (${ago(run.last_time, run.now)})` : "none"],
    ["Records and values", `${plural(run.records, "log call")}, ${plural(run.points, "value")}${run.log_bytes && run.points ? "" : ""}${health.log_bytes && run.points ? ` (${(health.log_bytes / run.points).toFixed(1)} bytes of log a value)` : ""}`],
  ];
  return h("dl", { class: "pairs wide" }, rows.map(([label, value]) => h("div", null, h("dt", null, label), h("dd", null, value))));
}

/**
 * @param {HTMLElement} node
 * @param {RunData} data
 * @returns {() => void} ends it
 */
function mountCheck(node, data) {
  if (api.saved) {
    replace(node, h("header", { class: "card-head" }, h("h2", null, "Check")), h("p", { class: "muted card-empty" }, "The log is checked by the dashboard or by `tracker verify`, not in a saved file."));
    return () => undefined;
  }
  const path = `runs/${encodeURIComponent(data.ref)}/check`;
  let closed = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const button = h("button", { type: "button", on: { click: () => void start() } }, "Check every record");
  const result = h("div", { class: "check-result", role: "status" });
  replace(node, h("header", { class: "card-head" }, h("h2", null, "Check"), h("span", { class: "grow" }), button),
    h("p", { class: "muted card-empty" }, "Reads the whole log: every checksum and the numbers of every client, which must have no gaps and no duplicates; then compares the store with it. Changes nothing."), result);
  const show = (/** @type {any} */ check) => {
    if (closed || !check) return;
    const running = check.state === "running";
    button.disabled = running;
    button.textContent = running ? "Checking…" : "Check again";
    if (running) {
      const bar = h("progress", { max: String(check.total || 1), "aria-label": "Progress of the check" });
      bar.value = check.done;
      replace(result, h("p", { class: "check-progress" }, bar, check.total ? `${bytes(check.done)} of ${bytes(check.total)}` : "Reading the store…"));
      timer = setTimeout(() => void ask(), EVERY);
      return;
    }
    replace(result, check.state === "failed" ? h("p", { class: "bad" }, `The check failed: ${check.error}`) : resultOf(check));
  };
  const ask = async () => show(await api.get(path).catch(() => null));
  const start = async () => {
    button.disabled = true;
    try {
      show(await api.post(path, {}));
    } catch (error) {
      button.disabled = false;
      replace(result, h("p", { class: "bad" }, /** @type {Error} */ (error).message));
    }
  };
  void ask();
  return () => {
    closed = true;
    clearTimeout(timer);
  };
}

/**
 * @param {any} check
 * @returns {HTMLElement}
 */
function resultOf(check) {
  const { result } = check;
  const { log, store } = result;
  const lost = Object.values(log.clients).reduce((/** @type {number} */ sum, /** @type {any} */ client) => sum + client.missing.reduce((/** @type {number} */ n, /** @type {number[]} */ [from, to]) => n + (to ?? 0) - (from ?? 0) + 1, 0), 0);
  const head = result.ok ? h("p", { class: "good" }, "✓ No problems found.") : h("p", { class: "bad" }, `✕ ${log.damage.length ? `This log has ${plural(log.damage.length, "damaged stretch", "damaged stretches")}; ` : ""}${lost ? `${plural(/** @type {number} */ (lost), "record is", "records are")} missing.` : plural(result.problems.length, "problem")}`);
  return h("div", null, head,
    result.problems.length ? h("ul", { class: "problems" }, result.problems.map((/** @type {string} */ line) => h("li", null, line))) : null,
    (store.notes ?? []).length ? h("ul", { class: "problems muted" }, store.notes.map((/** @type {string} */ line) => h("li", null, line))) : null,
    h("p", { class: "muted" }, `${whole(log.records)} records with ${plural(log.points, "value")} in ${bytes(log.bytes)}; checked ${ago(check.ended)} in ${duration(check.ended - check.started)}.`));
}
