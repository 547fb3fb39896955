import assert from "node:assert/strict";
import test from "node:test";
import { comparer, filterRows, formatSort, groupRows, insertRows, parseSort, sortRows, spread, tally } from "../../../tracker/ui/static/js/table/arrange.js";
import { describe, formatCondition, parseCondition, passes } from "../../../tracker/ui/static/js/table/conditions.js";

const columns = new Map(Object.entries({
  name: ["run-10", "run-9", "Run-2", null],
  loss: [0.5, NaN, -1, null],
  "config.a,b": [1, 1, 2, 2],
  tags: [["a", "b"], [], ["b"], []],
}));
const all = [0, 1, 2, 3];

test("sorting: numbers in text by value, NaN behind numbers, missing last in both directions", () => {
  assert.deepEqual(sortRows(all, columns, parseSort("name")), [2, 1, 0, 3]);
  assert.deepEqual(sortRows(all, columns, parseSort("-name")), [0, 1, 2, 3]);
  assert.deepEqual(sortRows(all, columns, parseSort("loss")), [2, 0, 1, 3]);
  assert.deepEqual(sortRows(all, columns, parseSort("-loss")), [0, 2, 1, 3]);
  assert.deepEqual(sortRows(all, columns, [{ column: "config.a,b", descending: true }, { column: "name", descending: false }]), [2, 3, 1, 0]);
});

test("a sort order survives the address", () => {
  const keys = [{ column: "config.a,b\\c", descending: true }, { column: "name", descending: false }];
  assert.deepEqual(parseSort(formatSort(keys)), keys);
  assert.deepEqual(parseSort(""), []);
});

test("conditions survive the address", () => {
  for (const condition of [{ kind: "contains", text: "a|b" }, { kind: "range", low: 0.1, high: null }, { kind: "range", low: -1e-9, high: 5 }, { kind: "set", values: ["a|b\\c", "", "1"] }]) {
    assert.deepEqual(parseCondition(formatCondition(condition)), condition);
    assert.ok(describe(condition));
  }
  for (const text of ["", "~", "..", "x..y", "nonsense"]) assert.equal(parseCondition(text), null);
});

test("filters", () => {
  /** @param {string} column @param {string} text */
  const rows = (column, text) => filterRows(4, columns, [[column, parseCondition(text)]]);
  assert.deepEqual(rows("name", "~RUN-"), [0, 1, 2]);
  assert.deepEqual(rows("loss", "..1"), [0, 2]);
  assert.deepEqual(rows("loss", "=NaN"), [1]);
  assert.deepEqual(rows("loss", "="), [3]);
  assert.deepEqual(rows("tags", "=b"), [0, 2]);
  assert.deepEqual(rows("tags", "="), [1, 3]);
  assert.deepEqual(filterRows(4, columns, [["config.a,b", parseCondition("=1")]], (row) => row !== 0), [1]);
  assert.equal(passes(parseCondition("=[1,2]"), null), false);
});

test("new rows find their place, the others stay though their values changed", () => {
  const values = new Map([["loss", [3, 1, 2, 0, 9]]]);
  assert.deepEqual(insertRows([0, 1, 2], [4, 3], comparer(values, parseSort("loss"))), [3, 0, 1, 2, 4]);
});

test("groups with mean and standard deviation", () => {
  const groups = groupRows(all, columns, ["config.a,b"]);
  assert.deepEqual(groups.map(({ values, rows }) => [values, rows]), [[[1], [0, 1]], [[2], [2, 3]]]);
  const { n, mean, std } = spread([0, 1, 2], [1, 2, 3]);
  assert.deepEqual([n, mean, std], [3, 2, 1]);
  assert.deepEqual(spread([0, 1], [NaN, 5]), { n: 1, mean: 5, std: NaN });
  assert.ok(Math.abs(spread([0, 1], [1e9 + 1, 1e9 + 3]).std - Math.SQRT2) < 1e-6);
});

test("counts of values", () => {
  assert.deepEqual(tally(all, columns.get("tags")), [["b", 2], [null, 2], ["a", 1]]);
});

test("10,000 rows", (context) => {
  const size = 10_000;
  const big = new Map([["loss", Array.from({ length: size }, (_, at) => Math.sin(at) * 1e3)], ["name", Array.from({ length: size }, (_, at) => `run-${(at * 7919) % size}`)]]);
  const rows = filterRows(size, big, [["loss", parseCondition("..500")]]);
  assert.ok(rows.length > 5000);
  for (const sort of ["loss", "name", "-name,loss"]) {
    const begin = performance.now();
    sortRows([...big.get("name").keys()], big, parseSort(sort));
    context.diagnostic(`sort by ${sort}: ${(performance.now() - begin).toFixed(1)} ms`);
  }
});
