import assert from "node:assert/strict";
import { test } from "node:test";
import { delta, numeric, orderBy, percentText, searchRows, sentence } from "../../../tracker/ui/static/js/compare/delta.js";

test("a delta is better or worse by the goal", () => {
  assert.deepEqual(delta(0.5, 0.4, "maximize"), { absolute: 0.5 - 0.4, percent: ((0.5 - 0.4) / 0.4) * 100, verdict: "better" });
  assert.equal(delta(0.5, 0.4, "minimize")?.verdict, "worse");
  assert.equal(delta(0.5, 0.4, null)?.verdict, "unknown");
  assert.equal(delta(0.5, 0.5, "minimize")?.verdict, "same");
});

test("percent is of the baseline's size", () => {
  assert.equal(delta(-1, -2, null)?.percent, 50);
  assert.equal(delta(1, 0, null)?.percent, null);
});

test("what is not a finite number has no delta", () => {
  for (const [one, other] of [["NaN", 1], [1, "Infinity"], ["a", 1], [1, null], [true, 1]]) assert.equal(delta(one, other, "maximize"), null);
  assert.equal(numeric("-Infinity"), -Infinity);
});

test("percent as text", () => {
  assert.deepEqual([12.345, -0.051, 0, 250.4, 4000, -0.001, null].map(percentText), ["+12.3 %", "−0.05 %", "0 %", "+250 %", "×41", "−<0.01 %", ""]);
});

test("runs in the order of a row", () => {
  const row = { key: "k", values: [3, null, 1, "NaN", "b", "a10", "a9"], missing: [1], differs: true };
  assert.deepEqual(orderBy(row, false), [2, 0, 6, 5, 4, 1, 3]);
  assert.deepEqual(orderBy(row, true), [4, 5, 6, 0, 2, 1, 3]);
});

test("search in keys and values", () => {
  const rows = [{ key: "model.lr", values: [0.1], differs: true }, { key: "opt", values: [{ name: "Adam" }], differs: true }];
  assert.deepEqual(searchRows(rows, "adam").map((row) => row.key), ["opt"]);
  assert.deepEqual(searchRows(rows, "LR 0.1").map((row) => row.key), ["model.lr"]);
  assert.equal(searchRows(rows, " ").length, 2);
});

test("a sentence about two runs", () => {
  const row = (/** @type {string} */ key, /** @type {any[]} */ values, /** @type {number[]} */ missing = []) => ({ key, values, missing, differs: true });
  assert.equal(sentence([], "a", "b"), "a and b have the same configuration.");
  assert.equal(sentence([row("lr", [0.1, 0.2]), row("<b>", [null, null], [1])], "a", "b"), "a and b differ in lr (0.1 and 0.2) and <b> (null and not set).");
  assert.match(sentence(["a", "b", "c", "d"].map((key) => row(key, [1, 2])), "x", "y"), /and 1 more key\.$/);
});
