import assert from "node:assert/strict";
import { test } from "node:test";

import { describeCount, parseSearch, rankKeys } from "../../../tracker/ui/static/js/panels/search.js";

const keys = ["train/loss", "val/loss", "val/top5_accuracy", "lossless", "grad/norm"];
const found = (text) => keys.filter(parseSearch(text).test);

test("every word must be part of the key, in any order and case", () => {
  assert.deepEqual(found("loss"), ["train/loss", "val/loss", "lossless"]);
  assert.deepEqual(found("LOSS val"), ["val/loss"]);
  assert.deepEqual(found("  "), keys);
  assert.deepEqual(found("loss -val"), ["train/loss", "lossless"]);
});

test("text between slashes is a regular expression; a broken one matches all and says why", () => {
  assert.deepEqual(found("/^val.*(loss|acc)/"), ["val/loss", "val/top5_accuracy"]);
  const broken = parseSearch("/va(l/");
  assert.equal(broken.test("anything"), true);
  assert.match(broken.error, /^Invalid regular expression/);
  assert.deepEqual(found("/"), ["train/loss", "val/loss", "val/top5_accuracy", "grad/norm"], "one slash is text");
});

test("the palette lists whole segments before parts of words", () => {
  assert.deepEqual(rankKeys(keys, "loss"), ["val/loss", "train/loss", "lossless"]);
  assert.deepEqual(rankKeys(keys, "acc"), ["val/top5_accuracy"]);
  assert.deepEqual(rankKeys(keys, "", 2), ["train/loss", "val/loss"]);
  assert.deepEqual(rankKeys(keys, "loss norm"), []);
});

test("the number of shown metrics", () => {
  assert.equal(describeCount(1, 1), "1 metric");
  assert.equal(describeCount(20, 20), "20 metrics");
  assert.equal(describeCount(3, 2000), "3 of 2,000 metrics");
});
