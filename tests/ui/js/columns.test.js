import assert from "node:assert/strict";
import test from "node:test";

globalThis.location = /** @type {any} */ ({ href: "http://127.0.0.1/", hash: "" });
globalThis.document = /** @type {any} */ ({ getElementById: () => null, addEventListener: () => undefined, hidden: false });
globalThis.fetch = /** @type {any} */ (() => new Promise(() => undefined));
const later = globalThis.setTimeout;
globalThis.setTimeout = /** @type {any} */ ((/** @type {() => void} */ fn, wait = 0) => later(fn, wait).unref());

const { shortLabels } = await import("../../../tracker/ui/static/js/table/columns.js");

test("labels are as short as they can be", () => {
  assert.deepEqual(shortLabels(["summary.train.loss", "config.lr", "summary.val/acc.max"]), ["loss", "lr", "acc.max"]);
  assert.deepEqual(shortLabels(["summary.train.loss", "summary.val.loss"]), ["train.loss", "val.loss"]);
});

test("a label is not the key of another column, shown or not", () => {
  const known = ["summary.accuracy", "summary.test.accuracy", "config.lr", "summary.lr", "name"];
  assert.deepEqual(shortLabels(["summary.test.accuracy", "config.lr"], known), ["test.accuracy", "config.lr"]);
  assert.deepEqual(shortLabels(["summary.accuracy"], known), ["accuracy"]);
});
