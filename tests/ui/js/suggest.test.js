import assert from "node:assert/strict";
import test from "node:test";
import { completions } from "../../../tracker/ui/static/js/shell/suggest.js";

const FIELDS = [{ name: "state", kind: "field", runs: 9 }, { name: "config.lr", kind: "config", runs: 9 }, { name: "config.model.lr_decay", kind: "config", runs: 3 }, { name: "summary.loss", kind: "summary", runs: 9 }];
const VALUES = { state: ["running", "finished"], "config.lr": [0.1, 0.01] };
/** @param {string} query @param {number} [caret] */
const texts = (query, caret = query.length) => completions(query, caret, FIELDS, (name) => VALUES[name] ?? []).map((one) => one.text);

test("fields are suggested while one is typed", () => {
  assert.deepEqual(texts("lr"), ["config.lr", "config.model.lr_decay"]);
  assert.deepEqual(texts("config.lr > 0.1 and (sum"), ["summary.loss"]);
  assert.deepEqual(texts(""), []);
  assert.deepEqual(texts("state and"), []);
  assert.deepEqual(texts('name == "lr'), []);
  assert.deepEqual(texts("sta and config.lr > 1", 3), ["state"]);
});

test("values are suggested after a comparison", () => {
  assert.deepEqual(texts("state == "), ['"running"', '"finished"']);
  assert.deepEqual(texts('state == "fin'), ['"finished"']);
  assert.deepEqual(texts("config.lr == 0.0"), ["0.01"]);
});

test("a suggestion replaces what was typed and nothing else", () => {
  const query = 'state == "fin and config.lr';
  const [one] = completions('config.lr > 1 and sta or x', 21, FIELDS, () => []);
  assert.equal(query.length > 0 && `config.lr > 1 and sta or x`.slice(0, one.from) + one.text + `config.lr > 1 and sta or x`.slice(one.to), "config.lr > 1 and state or x");
});
