import assert from "node:assert/strict";
import { test } from "node:test";
import { columnAt, densities, valueRange } from "../../../tracker/ui/static/js/run/density.js";

const DATA = /** @type {any} */ ({ steps: [0, 1, 2, 3], edges: [[0, 1, 2], [-5, 0, 5], [0, 1, 2], [3, 3.5, 4]], counts: [[1, 0], [0, 2], [0, 0], [0, 1]] });

test("the range of values is that of the bins with counts", () => {
  assert.deepEqual(valueRange(DATA), [0, 5]);
  assert.deepEqual(valueRange({ ...DATA, counts: [[0, 0], [0, 0], [0, 0], [0, 0]] }), [0, 1]);
  assert.deepEqual(valueRange({ ...DATA, edges: [[2, 2, 2]], counts: [[1, 0]] }), [1.5, 2.5]);
});

test("wide bins are not darker for being wide", () => {
  assert.deepEqual(densities([10, 10], [0, 1, 11]), [1, 0.1]);
  assert.deepEqual(densities([0, 0], [0, 1, 2]), [0, 0]);
});

test("the column under the pointer", () => {
  assert.deepEqual([-1, 0, 0.3, 0.99, 2].map((share) => columnAt(DATA, share)), [0, 0, 1, 3, 3]);
});
