import assert from "node:assert/strict";
import { test } from "node:test";

import { pack, PINNED, arrange, compareNames, groupKeys, moveBefore, moveBy, segments, splitKey } from "../../../tracker/ui/static/js/panels/sections.js";

test("a key is split at slashes and at dots, but not inside numbers or at its ends", () => {
  assert.deepEqual(segments("val/loss"), ["val", "loss"]);
  assert.deepEqual(segments("val.acc.top5"), ["val", "acc", "top5"]);
  assert.deepEqual(segments("layers.0.weight/norm"), ["layers", "0", "weight", "norm"]);
  assert.deepEqual(segments("recall@0.5"), ["recall@0.5"]);
  assert.deepEqual(segments("mAP@.5"), ["mAP@.5"]);
  assert.deepEqual(segments("p/0.95"), ["p", "0.95"]);
  assert.deepEqual(segments("/loss/"), ["/loss/"]);
  assert.deepEqual(segments("a//b"), ["a//b"]);
  assert.deepEqual(segments(""), [""]);
});

test("the first segment names the section, or all but the last", () => {
  assert.deepEqual(splitKey("val/acc/top5"), { section: "val", title: "acc/top5" });
  assert.deepEqual(splitKey("val/acc/top5", true), { section: "val/acc", title: "top5" });
  assert.deepEqual(splitKey("loss"), { section: "", title: "loss" });
});

test("sections: pinned, without a prefix, by name, the machine last", () => {
  const sections = groupKeys(["system.gpu", "val/loss", "loss", "train/loss", "layer10/w", "layer2/w"], { pins: ["train/loss", "missing"], folded: ["val"] });
  assert.deepEqual(sections.map((section) => section.id), [PINNED, "", "layer2", "layer10", "train", "val", "system"]);
  assert.deepEqual(sections[0].keys, ["train/loss"]);
  assert.equal(sections[5].folded, true);
  assert.deepEqual(sections[4].keys, ["train/loss"], "a pinned metric stays in its section as well");
});

test("names are ordered as people order them, and never equal by accident", () => {
  assert.ok(compareNames("layer2", "layer10") < 0);
  assert.notEqual(compareNames("Loss", "loss"), 0);
});

test("moved panels keep their places when other metrics come or go", () => {
  const keys = ["a", "b", "c", "d"];
  let order = moveBefore([], "d", "b");
  assert.deepEqual(arrange(keys, order), ["a", "d", "b", "c"]);
  assert.deepEqual(arrange([...keys, "aa"], order), ["a", "aa", "d", "b", "c"]);
  assert.deepEqual(arrange(["a", "c", "d"], order), ["a", "c", "d"], "a move before an unknown key is skipped");
  order = moveBefore(order, "a", "");
  assert.deepEqual(arrange(keys, order), ["d", "b", "c", "a"]);
  assert.deepEqual(moveBefore(["a>c"], "a", "d"), ["a>d"], "only the last move of a key is kept");
});

test("a panel moves by places within its section", () => {
  const keys = ["a", "b", "c"];
  assert.equal(moveBy([], keys, "a", -1), null);
  assert.equal(moveBy([], keys, "c", 1), null);
  assert.deepEqual(arrange(keys, moveBy([], keys, "a", 1) ?? []), ["b", "a", "c"]);
  assert.deepEqual(arrange(keys, moveBy([], keys, "b", 1) ?? []), ["a", "c", "b"]);
  assert.deepEqual(arrange(keys, moveBy([], keys, "c", -2) ?? []), ["c", "a", "b"]);
});

test("a key may hold the characters of a move", () => {
  assert.deepEqual(arrange(["a>b", "100%", "z"], moveBefore([], "z", "a>b")), ["100%", "z", "a>b"]);
});

test("sections that do not fill a row have the next that fit beside them", () => {
  assert.deepEqual(pack([2, 4, 2, 2, 1], 4), [0, 2, 1, 3, 4]);
  assert.deepEqual(pack([3, 3, 3], 3), [0, 1, 2]);
  assert.deepEqual(pack([1, 1, 1], 1), [0, 1, 2]);
  assert.deepEqual(pack([5, 2, 5, 1], 5), [0, 1, 3, 2]);
  assert.deepEqual(pack([], 4), []);
});
