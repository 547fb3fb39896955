import assert from "node:assert/strict";
import test from "node:test";
import { createScale, panRange, usableRange, zoomRange } from "../../../tracker/ui/static/js/chart/scale.js";
import { duration, label, ticksFor } from "../../../tracker/ui/static/js/chart/ticks.js";

/** A range of ranges that axes are asked to show. */
const RANGES = [
  [0, 1], [0, 1e6], [-3, 7], [1e9, 1e9 + 0.004], [-1e300, 1e300], [-Number.MAX_VALUE, Number.MAX_VALUE], [0, 1e-300], [1e-12, 3e-12],
  [123456, 123457], [0.1, 0.10000001], [-5e-324, 5e-324], [0, 7], [999, 1001],
];

test("a scale maps its ends to its pixels, and back", () => {
  for (const kind of ["linear", "log"]) {
    const scale = createScale(kind, 1, 1000, 40, 340);
    assert.equal(scale.at(1), 40);
    assert.ok(Math.abs(scale.at(1000) - 340) < 1e-9);
    for (const value of [1, 2, 31.6, 999]) assert.ok(Math.abs(scale.invert(scale.at(value)) - value) < 1e-9 * value);
  }
});

test("a scale of huge values does not overflow", () => {
  const scale = createScale("linear", -Number.MAX_VALUE, Number.MAX_VALUE, 0, 100);
  assert.equal(scale.at(0), 50);
  assert.equal(scale.at(Number.MAX_VALUE), 100);
  assert.equal(scale.invert(50), 0);
});

test("a log scale has no pixel for values that are not positive", () => {
  const scale = createScale("log", 1, 10, 0, 100);
  assert.ok(Number.isNaN(scale.at(0)));
  assert.ok(Number.isNaN(scale.at(-1)));
});

test("a range that can be drawn is ascending and finite", () => {
  for (const [low, high] of [...RANGES, [5, 5], [0, 0], [NaN, NaN], [Infinity, -Infinity], [-2, -1]]) {
    for (const kind of ["linear", "log"]) {
      const range = usableRange(low, high, kind, 0.05);
      assert.ok(range[0] < range[1], `${low} ${high} ${kind}: ${range}`);
      assert.ok(range.every(Number.isFinite));
      if (kind === "log") assert.ok(range[0] > 0);
    }
  }
});

test("ticks are at most as many as asked for, inside the range, apart from each other, with labels that differ", () => {
  for (const [low, high] of RANGES) {
    for (const most of [2, 4, 6, 10]) {
      for (const kind of ["number", "step"]) {
        const { values, labels } = ticksFor(kind, false, low, high, most);
        const name = `${low} to ${high}, ${most}: ${labels}`;
        assert.ok(values.length <= most, name);
        assert.equal(values.length, labels.length);
        const room = (high / 2 - low / 2) * 1e-6 + Math.max(Math.abs(low), Math.abs(high)) * 4.5e-16;
        for (const value of values) assert.ok(value >= low - room && value <= high + room, name);
        assert.equal(new Set(labels).size, labels.length, name);
        for (const text of labels) assert.ok(text.length <= 9, name);
      }
    }
  }
});

test("numbers are divided where people expect it", () => {
  assert.deepEqual(ticksFor("step", false, 0, 1e6, 6).labels, ["0", "200k", "400k", "600k", "800k", "1M"]);
  assert.deepEqual(ticksFor("number", false, 0, 1, 6).labels, ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
  assert.deepEqual(ticksFor("step", false, 0, 3, 6).labels, ["0", "1", "2", "3"]);
  assert.deepEqual(ticksFor("step", false, 0, 2e6, 5).labels, ["0", "500k", "1M", "1.5M", "2M"]);
  assert.deepEqual(ticksFor("number", false, -1, 1, 5).labels, ["\u22121", "\u22120.5", "0", "0.5", "1"]);
});

test("what all labels share is said once", () => {
  const { labels, note } = ticksFor("number", false, 1e9 - 0.004, 1e9 + 0.004, 5);
  assert.equal(note, "1,000,000,000 +");
  assert.deepEqual(labels, ["\u22120.004", "\u22120.002", "0", "+0.002", "+0.004"]);
});

test("log ticks are decades, or between them where there are few", () => {
  assert.deepEqual(ticksFor("number", true, 1e-3, 10, 6).labels, ["0.001", "0.01", "0.1", "1", "10"]);
  const { labels } = ticksFor("number", true, 1, 30, 6);
  assert.ok(labels.includes("1") && labels.includes("10"));
  assert.ok(ticksFor("number", true, 1e-300, 1e300, 6).values.length <= 6);
  assert.ok(ticksFor("number", true, 5, 5.1, 6).values.length >= 2);
});

test("durations and times are short", () => {
  assert.equal(duration(7800, 60), "2h 10m");
  assert.equal(duration(45, 1), "45s");
  assert.equal(duration(90000, 3600), "1d 1h");
  assert.deepEqual(ticksFor("relative", false, 0, 8 * 3600, 6).labels, ["0", "2h", "4h", "6h", "8h"]);
  const noon = new Date(2026, 10, 25, 12, 0, 0).getTime() / 1000;
  const { labels, note } = ticksFor("time", false, noon, noon + 4 * 3600, 6);
  assert.deepEqual(labels, ["12:00", "13:00", "14:00", "15:00", "16:00"]);
  assert.equal(note, "25 Nov");
  for (const span of [0.01, 1, 60, 3600, 86400, 1e6, 1e7, 1e9]) {
    const times = ticksFor("time", false, noon, noon + span, 6);
    assert.ok(times.values.length >= 1 && times.values.length <= 7, String(span));
  }
});

test("labels are short", () => {
  for (const [value, step, text] of [
    [0, 1, "0"], [1500000, 100000, "1.5M"], [200000, 100000, "200k"], [1e-5, 1e-5, "1e\u22125"], [1e300, 1e299, "1e300"], [-0.25, 0.05, "\u22120.25"], [1234, 1, "1234"],
  ]) assert.equal(label(value, step), text);
});

test("zooming keeps the value at the pointer, panning the span", () => {
  for (const kind of ["linear", "log"]) {
    const scale = createScale(kind, 10, 1000, 0, 300);
    const [low, high] = zoomRange(scale, 0.5, 100);
    const zoomed = createScale(kind, low, high, 0, 300);
    assert.ok(Math.abs(zoomed.at(scale.invert(100)) - 100) < 1e-6);
    const moved = createScale(kind, ...panRange(scale, 30), 0, 300);
    assert.ok(Math.abs(moved.at(scale.invert(100)) - 130) < 1e-6);
  }
});
