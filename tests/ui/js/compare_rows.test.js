import assert from "node:assert/strict";
import { test } from "node:test";
import { cellText, deltaText, sectionsOf, toTable } from "../../../tracker/ui/static/js/compare/rows.js";
import { delta } from "../../../tracker/ui/static/js/compare/delta.js";

/** @type {any} */
const ANSWER = {
  baseline: "a", now: 1_000, runs: [{ ref: "a", id: "a", name: "run", state: "finished", duration: 60, step: 9 }, { ref: "b", id: "b", name: "run", state: "failed", duration: 60, step: 9 }],
  config: [{ key: "lr", values: [0.1, null], differs: true, missing: [1] }, { key: "same", values: [1, 1], differs: false }],
  environment: [], summary: [{ key: "loss", values: [0.5, 0.4], differs: true, goal: "minimize", best: [1] }], counts: { config: 2, environment: 0, summary: 1 }, shared: [], left_out: 0, gone: [],
};

test("sections with what differs, or everything", () => {
  const shown = (/** @type {boolean} */ all) => sectionsOf(ANSWER, all).map((section) => [section.id, section.rows.map((row) => row.key)]);
  assert.deepEqual(shown(false), [["config", ["lr"]], ["summary", ["loss"]], ["run", ["state"]], ["environment", []]]);
  assert.deepEqual(shown(true)[2], ["run", ["state", "duration", "step"]]);
});

test("cells", () => {
  const [lr] = ANSWER.config;
  assert.deepEqual(cellText("config", lr, 1, 0), { text: "–", title: "not set", missing: true });
  assert.equal(cellText("config", { key: "x", values: [null, {}], differs: true }, 0, 0).text, "null");
  assert.equal(cellText("config", { key: "x", values: ["a\nb", 1], differs: true }, 0, 0).text, "a ⏎ b");
  assert.equal(cellText("config", { key: "x", values: ["x".repeat(99), 1], differs: true }, 0, 0).title.length, 99);
  assert.equal(cellText("run", { key: "duration", values: [60, 61], differs: true }, 0, 0).text, "1m");
});

test("the times of a row have one form, which tells them apart", () => {
  /** @param {any[]} ages in seconds */
  const texts = (...ages) => {
    const now = new Date(2026, 10, 26, 12, 0, 30).getTime() / 1000;
    const values = ages.map((age) => (age === null ? null : now - age));
    return values.map((value, at) => cellText("run", { key: "started", values, differs: true, missing: value === null ? [at] : [] }, at, now).text);
  };
  assert.deepEqual(texts(120, 3600, null), ["2 min ago", "1 h ago", "–"]);
  assert.deepEqual(texts(120, 120), ["2 min ago", "2 min ago"]);
  assert.deepEqual(texts(7300, 7400, 20), ["11-26 09:58", "11-26 09:57", "11-26 12:00"]);
  assert.deepEqual(texts(1, 2, 11), ["11-26 12:00:29", "11-26 12:00:28", "11-26 12:00:19"]);
});

test("deltas as text", () => {
  const text = (/** @type {any} */ one, /** @type {any} */ other) => deltaText(/** @type {any} */ (delta(one, other, null)));
  assert.deepEqual([text(0.4, 0.5), text(1, 1), text(1, 0), text(3, 2)], ["−0.1 (−20 %)", "±0", "+1", "+1 (+50 %)"]);
});

test("a table to copy: runs of one name are told apart, the best is strong", () => {
  const table = toTable(ANSWER, sectionsOf(ANSWER, false), [0, 1], 0, { deltas: true });
  assert.deepEqual(table.head, ["", "run (a)", "run (b)"]);
  assert.deepEqual(table.rows, [["lr", "0.1", ""], ["loss", "0.5", "0.4 (−20 %)"], ["state", "finished", "failed"]]);
  assert.deepEqual(table.strong?.[1], [false, false, true]);
});
