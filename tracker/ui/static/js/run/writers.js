/**
 * Tables about a run's processes, servers and losses.
 */
import { h } from "../core/dom.js";
import { ago, bytes, moment, plural, whole } from "../core/format.js";
import { stateMark } from "./states.js";

/** Rows shown before the rest is folded. */
const MANY = 20;

/**
 * @param {string} title
 * @param {string[]} heads those that begin with "#" are of numbers
 * @param {(Node | string | null)[][]} rows
 * @param {{note?: string}} [options]
 * @returns {HTMLElement}
 */
export function tableCard(title, heads, rows, { note = "" } = {}) {
  const numeric = heads.map((head) => head.startsWith("#"));
  const names = heads.map((head) => head.replace(/^#/, ""));
  const line = (/** @type {(Node | string | null)[]} */ cells) => h("tr", null, cells.map((cell, at) => h("td", { class: numeric[at] ? "num" : "", data: { label: names[at] ?? "" }, title: typeof cell === "string" ? cell : null }, cell)));
  const body = h("tbody", null, rows.slice(0, MANY).map(line));
  const more = rows.length > MANY ? h("button", { type: "button", class: "link", on: { click: () => { body.append(...rows.slice(MANY).map(line)); more?.remove(); } } }, `Show all ${whole(rows.length)}`) : null;
  return h("section", { class: "card", "aria-label": title }, h("header", { class: "card-head" }, h("h2", null, title), note ? h("span", { class: "muted" }, note) : null),
    h("div", { class: "scroll-x" }, h("table", { class: "plain-table" }, h("thead", null, h("tr", null, names.map((name, at) => h("th", { scope: "col", class: numeric[at] ? "num" : "" }, name)))), body)), more);
}

/**
 * The processes that wrote to the run.
 * @param {any} run
 * @returns {HTMLElement | null}
 */
export function writersCard(run) {
  const writers = /** @type {[string, any][]} */ (Object.entries(run.writers ?? {}));
  if (!writers.length) return null;
  const labels = writers.some(([, writer]) => writer.label);
  const rows = writers.map(([client, writer]) => [
    ...(labels ? [writer.label ?? ""] : []), stateMark(writer.state), writer.host ?? "", writer.pid === null || writer.pid === undefined ? "" : String(writer.pid),
    writer.step === null || writer.step === undefined ? "" : whole(writer.step), writer.last_time ? h("time", { title: moment(writer.last_time) }, ago(writer.last_time, run.now)) : "",
    writer.reason ?? (writer.parent ? `child of ${writer.parent}` : ""), h("code", null, client),
  ]);
  return tableCard("Writers", [...(labels ? ["Label"] : []), "State", "Host", "#Process", "#Step", "Last record", "Note", "Client"], rows, { note: writers.length > 1 ? plural(writers.length, "process", "processes") : "" });
}

/**
 * The servers that the run is sent to.
 * @param {any} run
 * @returns {HTMLElement | null}
 */
export function sinksCard(run) {
  const sinks = /** @type {[string, any][]} */ (Object.entries(run.sinks ?? {}));
  if (!sinks.length) return null;
  return tableCard("Sinks", ["Server", "#Pending", "State"], sinks.map(([address, sink]) => [
    h("code", null, address), bytes(sink.behind_bytes),
    sink.error ? h("span", { class: "bad" }, sink.error) : sink.behind_bytes === 0 ? h("span", { class: "good" }, "Everything is sent.")
      : sink.offline ? "Sent by `tracker sync` only." : "Being sent.",
  ]));
}

/**
 * Lost records by reason; nothing without any.
 * @param {any} run
 * @returns {HTMLElement | null}
 */
export function lossesCard(run) {
  const losses = /** @type {[string, number][]} */ (Object.entries(run.losses ?? {}));
  if (!losses.length) return null;
  return tableCard("Losses", ["Reason", "#Records"], losses.map(([reason, count]) => [reason, whole(count)]));
}
