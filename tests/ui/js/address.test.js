import assert from "node:assert/strict";
import test from "node:test";
import { DEFAULTS, parse, serialize } from "../../../tracker/ui/static/js/core/address.js";

/** @param {object} patch */
const view = (patch) => ({ ...structuredClone(DEFAULTS), ...patch });

test("the default view has the shortest address", () => {
  assert.equal(serialize(view({})), "#/runs");
  assert.deepEqual(parse(""), DEFAULTS);
  assert.deepEqual(parse("#/runs"), DEFAULTS);
});

test("every field survives the way through an address", () => {
  const full = view({
    page: "run", ref: "1~a b/c", tab: "charts", project: "dig its", runs: ["a1", "1~b,2"], chosen: true, query: 'config.lr > 0.01 and name == "a&b=c%d+e"',
    columns: ["name", "config.a,b:c"], widths: { "config.a,b:c": "120" }, sort: "-summary.loss,name", filters: { "summary.x:y": "> 1, ≤ 2 and “ä”" },
    group: ["config.seed"], seeds: false, nested: true, baseline: "a1", pins: ["train/loss"], x: "metric:a b", logX: true, logY: true, logPanels: ["p"], smooth: 12.5, smoothKind: "mean",
    band: "sem", outliers: true, zoom: [-1.5, 1e300], yZoom: { "a:b,c": [0.1, 0.2] }, linked: false, writers: "apart", search: "<img src=x onerror=alert(1)>",
    folded: ["x", "y,z"], full: "loss", order: ["b", "a"], size: "l", follow: true, fold: true, split: 333, theme: "dark", seeds: false, nested: true, slots: { a1: "7" }, options: { "a:b": "c,d" },
  });
  assert.deepEqual(parse(serialize(full)), full);
  for (const [name, value] of Object.entries(full)) assert.notDeepEqual(value, DEFAULTS[name], `${name} is not tested`);
});

test("nothing selected is told from nothing chosen", () => {
  assert.equal(serialize(view({ chosen: true })), "#/runs?runs=");
  assert.equal(parse("#/runs?runs=").chosen, true);
  assert.equal(parse("#/runs").chosen, false);
});

test("an address holds only characters that a browser leaves as they are", () => {
  const hash = serialize(view({ query: "<>\"'`{}|\\^ #%&äöü\u202e😀\ud800" }));
  assert.match(hash, /^#\/runs\?query=[A-Za-z0-9%+\-._~$*/:;@,?=!]*$/);
  assert.equal(new URL(`http://h/${hash}`).hash, hash);
});

test("nonsense is left at the default", () => {
  const strange = parse("#/nowhere?smooth=x&zoom=2:1&band=wide&__proto__=1&constructor=2&theme=pink&=&&logX&split=&query=%E0%A4%A");
  assert.deepEqual({ ...strange, query: "" }, DEFAULTS);
  assert.equal(strange.query, "%E0%A4%A");
  assert.equal(parse("#/run").page, "runs");
});

test("200 selected runs make an address of at most 2 KB", () => {
  const runs = Array.from({ length: 200 }, (_, at) => (at + 1e7).toString(36).padStart(8, "x"));
  assert.ok(serialize(view({ page: "charts", runs, chosen: true })).length <= 2048);
});
