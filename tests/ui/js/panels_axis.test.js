import assert from "node:assert/strict";
import { test } from "node:test";

import { SLIDER_MAX, mainX, xOfPanel, bucketCount, describePoints, describeSmoothing, labelOfX, nextX, sliderOf, smoothAt, smoothRange, unitOfX } from "../../../tracker/ui/static/js/panels/axis.js";

test("the x axis cycles through step, times and step metrics", () => {
  assert.equal(nextX("step", ["epoch"]), "relative");
  assert.equal(nextX("time", ["epoch"]), "metric:epoch");
  assert.equal(nextX("metric:epoch", ["epoch"]), "auto");
  assert.equal(nextX("auto", ["epoch"]), "step");
  assert.equal(nextX("auto", []), "relative");
  assert.equal(nextX("metric:other", []), "step");
  assert.equal(labelOfX("metric:val/epoch"), "val/epoch");
  assert.equal(unitOfX("relative"), "s");
});

test("the smoothing slider is logarithmic, off at its left end, and comes back to where it was", () => {
  assert.deepEqual(smoothRange(80_000), [50, 50_000]);
  assert.equal(smoothAt(0, 80_000), 0);
  assert.equal(smoothAt(1, 80_000), 50);
  assert.equal(smoothAt(SLIDER_MAX, 80_000), 50_000);
  for (let position = 0; position <= SLIDER_MAX; position += 5) {
    assert.ok(Math.abs(sliderOf(smoothAt(position, 80_000), 80_000) - position) <= 1, String(position));
  }
  assert.equal(sliderOf(1e9, 80_000), SLIDER_MAX);
  assert.equal(sliderOf(1e-9, 80_000), 1);
  assert.deepEqual(smoothRange(NaN), smoothRange(1000));
});

test("smoothing names its unit", () => {
  assert.equal(describeSmoothing(500, "ema", "step"), "half-life 500 steps");
  assert.equal(describeSmoothing(2.5, "mean", "relative"), "window 2.5 s");
  assert.equal(describeSmoothing(0, "ema", "step"), "off");
});

test("buckets: at most one for each pixel", () => {
  assert.equal(bucketCount(330), 320);
  assert.equal(bucketCount(0), 32);
  assert.equal(bucketCount(9000), 4000);
});

test("the corner of a panel", () => {
  assert.equal(describePoints(1_000_000, false), "1,000,000 points, all drawn");
  assert.equal(describePoints(120, true), "120 points");
  assert.equal(describePoints(1, true), "1 point");
  assert.equal(describePoints(1_000_000, false, 81_234), "81.2k points in this range, all drawn");
  assert.equal(describePoints(1_000_000, true, 57), "57 points in this range");
  assert.equal(describePoints(1_000_000, false, 1_000_000), "1,000,000 points, all drawn");
});

test("a metric is drawn over its step metric unless another x axis is chosen", () => {
  const infos = [{ key: "loss", step_metric: null }, { key: "val/loss", step_metric: "epoch" }, { key: "epoch", step_metric: "epoch" }];
  assert.equal(xOfPanel("auto", "val/loss", infos), "metric:epoch");
  assert.equal(xOfPanel("auto", "loss", infos), "step");
  assert.equal(xOfPanel("auto", "epoch", infos), "step");
  assert.equal(xOfPanel("auto", "unknown", infos), "step");
  assert.equal(xOfPanel("relative", "val/loss", infos), "relative");
  assert.equal(mainX("auto", infos), "step");
  assert.equal(mainX("time", infos), "time");
});

test("where all metrics have the same step metric, it is what panels share", () => {
  const infos = [{ key: "loss", step_metric: "epoch" }, { key: "acc", step_metric: "epoch" }, { key: "epoch", step_metric: null }, { key: "text", kind: "text" }];
  assert.equal(mainX("auto", infos), "metric:epoch");
  assert.equal(mainX("auto", []), "step");
});
