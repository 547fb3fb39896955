import assert from "node:assert/strict";
import { test } from "node:test";

import { commonName, differingFields, groupRuns, isSeed, seedFolding } from "../../../tracker/ui/static/js/panels/groups.js";

const configs = {
  a: { "config.lr": 0.1, "config.seed": 1 },
  b: { "config.lr": 0.1, "config.seed": 2 },
  c: { "config.lr": 0.3, "config.seed": 1 },
};
const fields = ["config.lr", "config.seed", "config.depth"];
const valueOf = (ref, field) => configs[ref][field] ?? null;
const nameOf = (ref) => `run-${ref}`;

test("seeds are known by their usual names", () => {
  for (const field of ["config.seed", "config.random_seed", "config.train.seed", "config.SEED"]) assert.ok(isSeed(field), field);
  for (const field of ["config.seeds_per_batch", "config.seeding", "config.lr"]) assert.ok(!isSeed(field), field);
});

test("runs that differ only in their seed are folded, others are not", () => {
  assert.deepEqual(seedFolding(["a", "b"], fields, valueOf), []);
  assert.equal(seedFolding(["a", "c"], fields, valueOf), null);
  assert.equal(seedFolding(["a", "b", "c"], fields, valueOf), null);
  assert.equal(seedFolding(["a"], fields, valueOf), null);
  assert.deepEqual(differingFields(["a", "b", "c"], fields, valueOf), ["config.lr", "config.seed"]);
});

test("runs are grouped by fields, in the order of each group's first run", () => {
  assert.deepEqual(groupRuns(["c", "a", "b"], ["config.lr"], valueOf, nameOf), [
    { id: "group:[0.3]", label: "lr 0.3", runs: ["c"] },
    { id: "group:[0.1]", label: "lr 0.1", runs: ["a", "b"] },
  ]);
  assert.deepEqual(groupRuns(["a", "b"], null, valueOf, nameOf).map((group) => group.id), ["a", "b"]);
  assert.equal(groupRuns(["a", "b"], ["config.depth"], valueOf, nameOf)[0].label, "depth not set");
  assert.equal(groupRuns(["a", "b"], [], valueOf, nameOf)[0].label, "run (2 runs)");
});

test("the common part of names", () => {
  assert.equal(commonName(["resnet-seed1", "resnet-seed2"]), "resnet-seed (2 runs)");
  assert.equal(commonName(["amber-fern", "calm-dune"]), "2 runs");
  assert.equal(commonName(["lr=0.1 s=10", "lr=0.1 s=12"]), "lr=0.1 s (2 runs)");
});
