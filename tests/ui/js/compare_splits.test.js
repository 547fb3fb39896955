import assert from "node:assert/strict";
import { test } from "node:test";
import { ordered, summaryOf, zoomAround } from "../../../tracker/ui/static/js/compare/splits.js";

/** @returns {any} */
const curve = (/** @type {string} */ key, /** @type {number | null} */ exact, /** @type {number | null} */ clear, common = 10) => ({
  key, run: "b", common, range: [0, 1], exact: exact === null ? null : { step: exact, value: 1, baseline: 0 }, clear: clear === null ? null : { step: clear, value: 1, baseline: 0 },
});
const CURVES = [curve("same", null, null), curve("none", null, null, 0), curve("late", 1, 9), curve("slightly", 4, null), curve("early", 2, 3)];

test("those that part first come first", () => {
  assert.deepEqual(ordered(CURVES).map((one) => one.key), ["early", "late", "slightly", "none", "same"]);
});

test("a sentence about them", () => {
  assert.equal(summaryOf(ordered(CURVES), true), "Their curves part clearly first at step 3, in early. 1 metric differs by at most 1 % of the range. 1 metric is exactly the same at all common steps.");
  assert.equal(summaryOf([curve("none", null, null, 0)], true), "Their metrics have no step in common.");
  assert.equal(summaryOf([], true), "These two runs have no metric in common.");
  assert.equal(summaryOf([], false), "Comparing the curves…");
});

test("the range of steps around a place", () => {
  assert.deepEqual(zoomAround(1000, 10_000), [700, 1300]);
  assert.deepEqual(zoomAround(0, 10), [0, 5]);
});
