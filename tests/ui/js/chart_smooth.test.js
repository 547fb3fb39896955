import assert from "node:assert/strict";
import test from "node:test";
import { aggregate, evenGrid, groupLine, tQuantile } from "../../../tracker/ui/static/js/chart/aggregate.js";
import { smooth } from "../../../tracker/ui/static/js/chart/smooth.js";

const KINDS = ["ema", "gaussian", "mean"];
const curve = (x) => Math.sin(x / 900) + 0.3 * Math.sin(x / 131);

function points(step, end = 20000) {
  const x = [];
  for (let at = 0; at <= end; at += step) x.push(at);
  return { x, mean: x.map(curve), n: x.map(() => 1) };
}

function buckets(width, end = 20000) {
  const result = { x: [], mean: [], n: [] };
  for (let from = 0; from < end; from += width) {
    let sum = 0;
    for (let at = from; at < from + width; at++) sum += curve(at);
    result.x.push(from + (width - 1) / 2);
    result.mean.push(sum / width);
    result.n.push(width);
  }
  return result;
}

function at(data, values, x) {
  const i = data.x.findIndex((one) => one >= x);
  if (i <= 0) return values[0];
  const share = (x - data.x[i - 1]) / (data.x[i] - data.x[i - 1]);
  return values[i - 1] * (1 - share) + values[i] * share;
}

test("the same curve logged at different density is smoothed alike", () => {
  for (const kind of KINDS) {
    const dense = points(1);
    const wanted = smooth(dense, kind, 500);
    for (const other of [points(3), points(25), buckets(10), buckets(50)]) {
      const got = smooth(other, kind, 500);
      let worst = 0;
      // Within the first half-life there is hardly anything to average.
      for (let x = 500; x < 19900; x += 37) worst = Math.max(worst, Math.abs(at(dense, wanted, x) - at(other, got, x)));
      assert.ok(worst < 0.01 * 2.6, `${kind}: ${worst}`);
    }
  }
});

test("a burst of points counts no more than its stretch of the axis", () => {
  for (const kind of KINDS) {
    const plain = points(10);
    const x = [...plain.x];
    for (let i = 0; i < 5000; i++) x.push(8000 + i / 10);
    x.sort((a, b) => a - b);
    const burst = { x, mean: x.map(curve), n: x.map(() => 1) };
    const a = smooth(plain, kind, 500);
    const b = smooth(burst, kind, 500);
    for (let place = 500; place < 19500; place += 97) assert.ok(Math.abs(at(plain, a, place) - at(burst, b, place)) < 0.026, `${kind} ${place}`);
  }
});

test("zooming does not change a curve, given some of it on the left", () => {
  for (const kind of KINDS) {
    const whole = points(5);
    const all = smooth(whole, kind, 200);
    const first = whole.x.findIndex((x) => x >= 8000);
    const cut = { x: whole.x.slice(first), mean: whole.mean.slice(first), n: whole.n.slice(first) };
    const part = smooth(cut, kind, 200);
    for (let i = 400; i < 1500; i += 7) assert.ok(Math.abs(all[first + i] - part[i]) < 0.002, kind);
  }
});

test("a constant stays, a width of 0 changes nothing, values that are not finite do not count", () => {
  for (const kind of KINDS) {
    const data = { x: [0, 1, 2, 3, 10], mean: [4, 4, NaN, 4, 4], n: [1, 1, 0, 1, 1] };
    const got = smooth(data, kind, 5);
    [4, 4, NaN, 4, 4].forEach((value, i) => (Number.isNaN(value) ? assert.ok(Number.isNaN(got[i])) : assert.ok(Math.abs(got[i] - value) < 1e-12)));
    assert.deepEqual([...smooth({ x: [0, 1], mean: [1, 5], n: [1, 1] }, kind, 0)], [1, 5]);
    assert.deepEqual([...smooth({ x: [7], mean: [3], n: [1] }, kind, 5)], [3]);
    assert.equal(smooth({ x: [], mean: [], n: [] }, kind, 5).length, 0);
  }
});

test("a half-life is a half-life", () => {
  const x = Array.from({ length: 4001 }, (_, i) => i);
  const data = { x, mean: x.map((at) => (at < 2000 ? 1 : 0)), n: x.map(() => 1) };
  assert.ok(Math.abs(smooth(data, "ema", 200)[2200] - 0.5) < 0.02);
  assert.ok(Math.abs(smooth(data, "mean", 200)[2000] - 0.5) < 0.02);
  assert.ok(Math.abs(smooth(data, "gaussian", 200)[2000] - 0.5) < 0.02);
});

const series = (xs, ys, run = "r") => ({ key: "loss", run, total: xs.length, raw: true, x0: Float64Array.from(xs), mean: Float64Array.from(ys) });
const steps = (count, from = 0, by = 1) => Array.from({ length: count }, (_, i) => from + i * by);

test("a group's mean, deviation, interval, range and number of runs", () => {
  const xs = steps(10);
  const runs = [1, 2, 3, 4].map((value) => [series(xs, xs.map(() => value))]);
  const got = aggregate(runs, { low: 0, high: 9, count: 10 });
  assert.deepEqual([...got.x], xs);
  assert.equal(got.mean[3], 2.5);
  assert.ok(Math.abs(got.std[3] - 1.2909944487) < 1e-9);
  assert.ok(Math.abs(got.sem[3] - 0.6454972244) < 1e-9);
  assert.ok(Math.abs(got.ci95[3] - 3.1824 * 0.6454972244) < 1e-6);
  assert.deepEqual([got.low[3], got.high[3], got.n[3]], [1, 4, 4]);
});

test("a run that ends early is counted only where it has values, and the count says so", () => {
  const runs = [[series(steps(10), steps(10).map(() => 1))], [series(steps(5), steps(5).map(() => 3))]];
  const got = aggregate(runs, { low: 0, high: 9, count: 10 });
  assert.deepEqual([...got.n], [2, 2, 2, 2, 2, 1, 1, 1, 1, 1]);
  assert.equal(got.mean[4], 2);
  assert.equal(got.mean[5], 1);
  assert.ok(Number.isNaN(got.std[5]));
});

test("runs logged at different steps do not make the mean jump", () => {
  const even = [series(steps(100, 0, 2), steps(100).map(() => 0))];
  const odd = [series(steps(100, 1, 2), steps(100).map(() => 1))];
  const grid = evenGrid([even, odd], { low: 0, high: 199, count: 200 });
  const got = aggregate([even, odd], grid);
  for (let i = 1; i + 1 < got.mean.length; i++) assert.equal(got.mean[i], 0.5);
  assert.equal(evenGrid([even, even], { low: 0, high: 199, count: 200 }).count, 200);
});

test("a spike of one run stays in the group's line, and NaN are counted", () => {
  const xs = steps(50);
  const spiked = [series(xs, xs.map((x) => (x === 30 ? 99 : 1)), "a")];
  const other = [series(xs, xs.map((x) => (x === 10 ? NaN : 1)), "b")];
  const line = groupLine({ id: "g", run: "g", label: "g", color: "#000" }, [spiked, other], { grid: { low: 0, high: 49, count: 50 }, band: "std" });
  assert.equal(Math.max(...line.series.high), 99);
  assert.equal(line.series.bad[10], 1);
  assert.equal(line.runs[10], 1);
  assert.equal(line.members, 2);
  assert.ok(line.band.low[0] === 1 && line.band.high[0] === 1);
});

test("quantiles of Student's t", () => {
  for (const [freedom, value] of [[1, 12.706], [4, 2.776], [12, 2.1788], [20, 2.086], [120, 1.9799]]) assert.ok(Math.abs(tQuantile(freedom) - value) < 0.001);
});
