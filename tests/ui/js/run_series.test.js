import assert from "node:assert/strict";
import { test } from "node:test";
import { keyText } from "../../../tracker/ui/static/js/core/format.js";
import { metricRows } from "../../../tracker/ui/static/js/run/metrics.js";
import { paths, statistics } from "../../../tracker/ui/static/js/run/spark.js";

/** @returns {any} */
const buckets = (/** @type {number[]} */ mean, /** @type {Partial<any>} */ more = {}) => ({
  raw: false, x0: mean.map((_, at) => at * 10), x1: mean.map((_, at) => at * 10 + 9), low: mean.map((value) => value - 1), high: mean.map((value) => value + 1), mean, last: mean,
  n: mean.map(() => 10), bad: mean.map(() => 0), ...more,
});

test("the extremes are those of the points, not of the means", () => {
  assert.deepEqual(statistics([buckets([1, 5, 3])]), { low: 0, high: 6, last: 3, bad: 0 });
  assert.equal(statistics([]), null);
  const bad = statistics([buckets([NaN, NaN], { low: [NaN, NaN], high: [NaN, NaN], bad: [10, 10] })]);
  assert.ok(bad && Number.isNaN(bad.low) && bad.bad === 20);
  assert.equal(statistics([buckets([1, 2], { raw: true, bad: [0, 3] })])?.bad, 1);
});

test("a line is not joined over values that are not finite", () => {
  const shape = paths(buckets([1, NaN, 3]), { x: [0, 29], y: [0, 4] }, { width: 29, height: 20 });
  assert.equal(shape.line.match(/M/g)?.length, 2);
  assert.match(shape.band, /^M.*Z$/);
  assert.match(paths(buckets([2]), { x: [0, 9], y: [1, 3] }, { width: 10, height: 10 }).line, /h0\.01$/);
});

test("aggregates stand with their metric", () => {
  const run = { summary: { "loss.min": 0.1, "loss.last": 0.2, acc: 0.9, "a.min": 3, best: 1 }, goals: { "loss.min": "minimize" }, aggregates: { acc: "max" } };
  const rows = metricRows(run, [{ key: "a.min", kind: "number", goal: null }, { key: "loss", kind: "number", goal: "minimize" }, { key: "acc", kind: "number", goal: null }, { key: "a", kind: "number", goal: null }]);
  assert.deepEqual(rows.map((row) => [row.key, row.value, row.aggregates]), [["loss", 0.2, [["min", 0.1]]], ["a.min", 3, []], ["acc", 0.9, [["max", 0.9]]], ["a", null, []], ["best", 1, []]]);
});

test("a key that would look like nothing is quoted", () => {
  assert.deepEqual(["loss", " ", "\u202eab", ""].map(keyText), ["loss", '" "', "\ufffdab", '""']);
});
