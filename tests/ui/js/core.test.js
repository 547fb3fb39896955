import assert from "node:assert/strict";
import test from "node:test";
import { decodeColumn, decodeSeries } from "../../../tracker/ui/static/js/core/decode.js";
import { ago, bytes, count, duration, exact, number, plural, shorten, tick, whole } from "../../../tracker/ui/static/js/core/format.js";
import { History } from "../../../tracker/ui/static/js/core/history.js";
import { computed, effect, signal } from "../../../tracker/ui/static/js/core/signal.js";

test("signals tell of changes, and of nothing else", () => {
  const a = signal(1);
  const seen = [];
  const end = a.subscribe((value) => seen.push(value));
  a.value = 1;
  a.value = 2;
  end();
  a.value = 3;
  assert.deepEqual(seen, [2]);
  const b = computed(() => a.value * 2, [a]);
  assert.equal(b.value, 6);
  a.value = 5;
  assert.equal(b.peek(), 10);
  let runs = 0;
  const stop = effect(() => (runs += 1), [a, b]);
  a.value = 6;
  stop();
  a.value = 7;
  assert.equal(runs, 3);
});

test("numbers", () => {
  const minus = "\u2212";
  assert.deepEqual([0, 1, -1, 12345, 0.04123456, 123.456, 12345.678, 1e-7, 1.5e12, -0.5, NaN, Infinity, -Infinity, null, "adam", true].map(number),
    ["0", "1", `${minus}1`, "12,345", "0.04123", "123.5", "12,346", `1e${minus}7`, "1.5e12", `${minus}0.5`, "NaN", "∞", `${minus}∞`, "", "adam", "true"]);
  assert.equal(exact(0.1 + 0.2), "0.30000000000000004");
  assert.deepEqual([[0.25, 0.25], [0.2, 0.2], [200000, 50000], [1500000, 500000], [0, 1], [1e-7, 1e-7], [-3, 1], [1250, 250]].map(([v, s]) => tick(v, s)),
    ["0.25", "0.2", "200k", "1.5M", "0", `1e${minus}7`, `${minus}3`, "1.25k"]);
  assert.deepEqual([0, 950, 9999, 12345, 999999, 1e6, 1.5e9].map(count), ["0", "950", "9,999", "12.3k", "1M", "1M", "1.5G"]);
  assert.equal(whole(1e7), "10,000,000");
  assert.equal(plural(1, "run"), "1 run");
  assert.equal(plural(2, "run"), "2 runs");
});

test("times and sizes", () => {
  assert.deepEqual([0, 0.0123, 0.3, 1.26, 42, 59.9, 200, 3600, 7800, 277200, null].map(duration),
    ["0 s", "12.3 ms", "300 ms", "1.3 s", "42 s", "1m", "3m 20s", "1h", "2h 10m", "3d 5h", ""]);
  assert.deepEqual([1, 30, 200, 7300, 86400 * 1.5, 86400 * 3].map((s) => ago(1e9 - s, 1e9)),
    ["just now", "30 s ago", "3 min ago", "2 h ago", "1 day ago", "3 days ago"]);
  assert.deepEqual([512, 1500, 20e6, 999_999].map(bytes), ["512 B", "1.5 KB", "20 MB", "1 MB"]);
});

test("a shortened name keeps the end that differs", () => {
  const base = "resnet50-imagenet-batch256-cosine-warmup5-";
  const names = ["lr0.1-seed1", "lr0.1-seed2", "lr0.3-seed1"].map((end) => base + end);
  const short = names.map((name) => shorten(name, names, 24));
  assert.equal(new Set(short).size, 3);
  assert.ok(short.every((name) => name.length <= 24), short.join());
  assert.equal(shorten("short", names, 24), "short");
  assert.ok(shorten("x".repeat(10_000)).length <= 32);
});

test("undo and redo", () => {
  const history = new History();
  const log = [];
  const step = (name, merge) => ({ label: name, merge, undo: () => log.push(`-${name}`), redo: () => log.push(`+${name}`) });
  assert.equal(history.undo(), null);
  history.push(step("a"));
  history.push(step("b"));
  assert.equal(history.undo()?.label, "b");
  assert.equal(history.redo()?.label, "b");
  history.undo();
  history.push(step("c"));
  assert.equal(history.canRedo, false);
  assert.deepEqual(log, ["-b", "+b", "-b"]);
});

test("quick changes of one thing are one step", () => {
  const history = new History();
  let value = 0;
  for (const [next, at] of [[1, 0], [2, 500], [3, 900], [4, 5000]]) {
    const old = value;
    history.push({ label: "slide", merge: "slide", undo: () => (value = old), redo: () => (value = next) }, at);
    value = next;
  }
  history.undo();
  assert.equal(value, 3);
  history.undo();
  assert.equal(value, 0);
  history.redo();
  assert.equal(value, 3);
});

test("columns by dictionary and with values that JSON lacks", () => {
  assert.deepEqual(decodeColumn({ values: [1, "NaN", null, "-Infinity"] }), [1, NaN, null, -Infinity]);
  assert.deepEqual(decodeColumn({ values: ["NaN", "a"] }), ["NaN", "a"]);
  assert.deepEqual(decodeColumn({ values: ["NaN", null] }), [NaN, null]);
  assert.deepEqual(decodeColumn({ dictionary: ["x", "y"], index: [1, 0, null, 1] }), ["y", "x", null, "y"]);
});

test("the binary answer is read where its arrays lie", () => {
  const head = JSON.stringify({
    series: [{ panel: 0, key: "loss", run: "a", writer: "w", label: null, count: 2, total: 10, raw: false,
      arrays: { x0: [0, "f8"], x1: [16, "f8"], low: [32, "f4"], high: [40, "f4"], mean: [48, "f4"], last: [56, "f4"], n: [64, "u4"], bad: [72, "u4"] } }],
    errors: [], cursor: "c",
  });
  const size = Math.ceil((head.length + 4) / 8) * 8 - 4;
  const buffer = new ArrayBuffer(4 + size + 80);
  new DataView(buffer).setUint32(0, size, true);
  new Uint8Array(buffer, 4, size).set(new TextEncoder().encode(head.padEnd(size)));
  new Float64Array(buffer, 4 + size, 4).set([1, 2, 3, 4]);
  new Float32Array(buffer, 4 + size + 32, 2).set([-1, -2]);
  const { series: [one], cursor } = decodeSeries(buffer);
  assert.deepEqual([[...one.x0], [...one.x1], [...one.low]], [[1, 2], [3, 4], [-1, -2]]);
  assert.equal(cursor, "c");
});
