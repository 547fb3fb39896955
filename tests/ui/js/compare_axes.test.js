import assert from "node:assert/strict";
import { test } from "node:test";
import { isLogAxis, makeAxis, pathsOf, rampColor, varies, withLogAxis } from "../../../tracker/ui/static/js/compare/axes.js";
import { brushesOf, passes, withBrush } from "../../../tracker/ui/static/js/compare/brush.js";
import { columnsOf, defaultAxes, defaultPair } from "../../../tracker/ui/static/js/compare/columns.js";

test("numbers lie between the ends, with a margin", () => {
  const axis = makeAxis([1, 3, null, "NaN"]);
  assert.equal(axis.kind, "number");
  assert.ok(/** @type {number} */ (axis.place(1)) > 0 && /** @type {number} */ (axis.place(3)) < 1);
  assert.equal(axis.place(2), 0.5);
  assert.equal(axis.place("NaN"), null);
  assert.equal(axis.left, 2);
  assert.ok(Math.abs(axis.value(0.5) - 2) < 1e-9);
});

test("a log axis leaves out what is not positive", () => {
  const axis = makeAxis([0.001, 0.1, 0, -1], { log: true });
  assert.equal(axis.left, 2);
  assert.ok(Math.abs(/** @type {number} */ (axis.place(0.01)) - 0.5) < 1e-9);
  assert.deepEqual(axis.ticks.map((tick) => tick.label), ["0.001", "0.003", "0.01", "0.03", "0.1"]);
});

test("whole numbers have whole ticks, one value has a place, and so have words", () => {
  assert.deepEqual(makeAxis([0, 1, 2]).ticks.map((tick) => tick.label), ["0", "1", "2"]);
  assert.equal(makeAxis([5, 5]).place(5), 0.5);
  const words = makeAxis(["b", "a10", "a9", null, 1]);
  assert.equal(words.kind, "category");
  assert.deepEqual(words.ticks.map((tick) => tick.label), ["1", "a9", "a10", "b"]);
  assert.equal(words.place("none"), null);
});

test("colours of a range", () => {
  assert.equal(rampColor(0), "rgb(68 60 140)");
  assert.match(rampColor(1), /^rgb\(22\d 20\d 5\d\)$/);
  assert.ok(varies([1, 2]) && !varies([1, 1, null]) && !varies([]));
});

test("ranges travel in the address", () => {
  const text = withBrush(withBrush("", "config.a:b", [0.25, 0.5]), "config.c", [0, 1]);
  assert.deepEqual(brushesOf(text), { "config.a:b": [0.25, 0.5], "config.c": [0, 1] });
  assert.equal(withBrush(withBrush(text, "config.c", null), "config.a:b", null), "");
  assert.deepEqual(brushesOf("x:2:1\nnothing"), {});
  assert.ok(passes(null, undefined) && passes(0.3, [0.2, 0.4]) && !passes(0.5, [0.2, 0.4]) && !passes(null, [0, 1]));
});

test("columns that vary, and the ones to begin with", () => {
  const answer = /** @type {any} */ ({
    runs: [{ step: 1, duration: 2 }, { step: 1, duration: 3 }],
    config: [{ key: "lr", values: [0.1, 0.2] }, { key: "same", values: [1, 1] }, { key: "opt", values: ["a", null], missing: [1] }, { key: "name", values: ["x", "y"] }],
    summary: [{ key: "loss", values: [1, 2], goal: "minimize" }, { key: "note", values: ["a", "b"] }, { key: "other", values: [3, 4] }],
  });
  const columns = columnsOf(answer);
  assert.deepEqual(columns.map((column) => column.id), ["config.lr", "config.name", "summary.loss", "summary.other", "run.duration"]);
  assert.deepEqual(defaultAxes(columns), ["config.lr", "config.name", "summary.loss"]);
  assert.deepEqual(defaultPair(columns), { x: "config.lr", y: "summary.loss" });
});

test("an axis is logarithmic where its numbers span decades, unless the other way was chosen", () => {
  const column = (id, values, number = true) => ({ id, label: id, group: "Config", values, number, goal: null, kind: "number" });
  const rate = column("config.lr", [0.001, 0.01, 1]);
  const size = column("config.size", [1, 2, 3]);
  assert.ok(isLogAxis("", rate) && !isLogAxis("", size) && !isLogAxis("+config.word", column("config.word", ["a"], false)));
  const changed = withLogAxis(withLogAxis("", rate), size);
  assert.equal(changed, "-config.lr\n+config.size");
  assert.ok(!isLogAxis(changed, rate) && isLogAxis(changed, size));
  assert.equal(withLogAxis(withLogAxis(changed, rate), size), "");
});

test("a run's line goes across the axes on which it has no value", () => {
  /** @param {number[]} ats */
  const of = (ats) => pathsOf(ats.map((at) => ({ at, text: `${at} 0` })));
  assert.deepEqual(of([0, 1, 2]), { path: "M0 0L1 0L2 0", across: "" });
  assert.deepEqual(of([0, 1, 3]), { path: "M0 0L1 0M3 0h0", across: "M1 0L3 0" });
  assert.deepEqual(of([0, 2]), { path: "M0 0h0M2 0h0", across: "M0 0L2 0" });
  assert.deepEqual(of([1]), { path: "M1 0h0", across: "" });
  assert.deepEqual(of([]), { path: "", across: "" });
});
