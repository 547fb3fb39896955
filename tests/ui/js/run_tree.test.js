import assert from "node:assert/strict";
import { test } from "node:test";
import { kindOf, rowsOf, valueText, visibleRows } from "../../../tracker/ui/static/js/run/tree.js";

const CONFIG = { lr: 0.1, model: { layers: 2, norm: { eps: 1e-7, kind: "rms" }, empty: {} }, "<b>": [1, { a: 2 }], none: null };
const rows = rowsOf(CONFIG);

test("leaves and branches, in order", () => {
  assert.deepEqual(rows.map((row) => [row.key, row.depth, row.branch, row.size]), [
    ["lr", 0, false, 0], ["model", 0, true, 4], ["model.layers", 1, false, 0], ["model.norm", 1, true, 2], ["model.norm.eps", 2, false, 0],
    ["model.norm.kind", 2, false, 0], ["model.empty", 1, false, 0], ["<b>", 0, false, 0], ["none", 0, false, 0],
  ]);
  assert.deepEqual(rowsOf(null), []);
});

test("a folded branch hides what is below it, not what follows", () => {
  assert.deepEqual(visibleRows(rows, "", new Set(["model.norm"])).map((row) => row.key), ["lr", "model", "model.layers", "model.norm", "model.empty", "<b>", "none"]);
  assert.deepEqual(visibleRows(rows, "", new Set(["model"])).map((row) => row.key), ["lr", "model", "<b>", "none"]);
});

test("a search looks at keys and values, into folded branches too, and keeps the branches", () => {
  const found = visibleRows(rows, "RMS", new Set(["model"])).map((row) => row.key);
  assert.deepEqual(found, ["model", "model.norm", "model.norm.kind"]);
  assert.deepEqual(visibleRows(rows, "norm 1e-7", new Set()).map((row) => row.key), ["model", "model.norm", "model.norm.eps"]);
  assert.deepEqual(visibleRows(rows, "nothing", new Set()), []);
});

test("values as text", () => {
  assert.deepEqual([0.1, "a\nb", "", null, true, [1, "x"], {}].map(valueText), ["0.1", "a\nb", '""', "null", "true", '[1,"x"]', "{}"]);
  assert.deepEqual([1, "x", "NaN", null, true, [1], {}].map(kindOf), ["number", "string", "number", "null", "boolean", "list", "list"]);
});
