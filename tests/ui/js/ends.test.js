import assert from "node:assert/strict";
import test from "node:test";
import { splitAt } from "../../../tracker/ui/static/js/core/ends.js";

test("the end of a long name is kept, a short name is not divided", () => {
  assert.equal(splitAt("a".repeat(200)), 188);
  assert.equal(splitAt("amber-fern-1"), 0);
  assert.equal(splitAt(""), 0);
});

test("no character is divided", () => {
  const text = `${"a".repeat(20)}\u{1F600}${"b".repeat(11)}`;
  assert.equal(splitAt(text), 20);
  assert.equal(splitAt(`${"a".repeat(20)}e\u0301${"b".repeat(11)}`), 20);
});
