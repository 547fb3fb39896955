import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { base64, json, makePage, rename, resolve } from "../../../tracker/ui/static/js/save/bundle.js";
import { bucketsFor, collect } from "../../../tracker/ui/static/js/save/collect.js";

const STATIC = new URL("../../../tracker/ui/static/", import.meta.url);

/** All files of the page, by name. */
function files() {
  /** @type {Record<string, string>} */
  const found = {};
  for (const entry of readdirSync(STATIC, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !/\.(js|css|html)$/.test(entry.name)) continue;
    const path = `${entry.parentPath}/${entry.name}`.replaceAll("//", "/");
    found[path.slice(path.indexOf("/static/") + 8)] = readFileSync(path, "utf8");
  }
  return found;
}

test("an import is resolved as a browser does", () => {
  assert.equal(resolve("js/core/api.js", "./signal.js"), "js/core/signal.js");
  assert.equal(resolve("js/core/api.js", "../chart/scale.js"), "js/chart/scale.js");
  assert.equal(resolve("js/main.js", "./core/api.js"), "js/core/api.js");
});

test("imports get their names in the map, and nothing else changes", () => {
  const text = 'import { a, b as c } from "./x.js";\nimport "../y.js";\nexport { d } from "./z.js";\n// from "./no.js"\nconst s = `from "./no.js"`;\n';
  assert.equal(rename("js/core/m.js", text),
    'import { a, b as c } from "tracker:js/core/x.js";\nimport "tracker:js/y.js";\nexport { d } from "tracker:js/core/z.js";\n// from "./no.js"\nconst s = `from "./no.js"`;\n');
});

test("every import of every module of the page is in the saved file", () => {
  const all = files();
  assert.ok(Object.keys(all).length > 30);
  for (const [name, text] of Object.entries(all)) {
    if (!name.startsWith("js/")) continue;
    const code = rename(name, text).replace(/\/\*[\s\S]*?\*\//g, "");
    for (const match of code.matchAll(/^(?:import|export)\b[^;`]*?\bfrom "([^"]+)"/gm)) {
      assert.ok(match[1].startsWith("tracker:") && all[match[1].slice(8)] !== undefined, `${name}: ${match[1]}`);
    }
    assert.doesNotMatch(code, /\bimport\(/, `${name} imports dynamically`);
  }
});

test("data cannot end its element", () => {
  const text = json({ name: "</script><script>alert(1)</script>\u2028<!--" });
  assert.ok(!text.includes("<") && !text.includes("\u2028"));
  assert.equal(JSON.parse(text).name, "</script><script>alert(1)</script>\u2028<!--");
});

test("base64 of text beyond ASCII", () => {
  assert.equal(Buffer.from(base64("é数😀".repeat(20000)), "base64").toString("utf8"), "é数😀".repeat(20000));
});

test("the page has a policy that allows its own scripts only", async () => {
  const page = await makePage(files(), { answers: {} }, "<b>", async (text) => `hash${text.length}`);
  assert.match(page, /default-src 'none'; script-src 'sha256-hash\d+' 'sha256-hash\d+' data:; style-src 'sha256-hash\d+'/);
  assert.ok(page.includes("<title>&lt;b&gt;</title>"));
  assert.ok(!(await makePage(files(), {}, "t", null)).includes("Content-Security-Policy"));
});

test("many series have fewer buckets each", () => {
  assert.equal(bucketsFor(10), 1600);
  assert.equal(bucketsFor(1e7), 100);
  assert.ok(bucketsFor(4000) * 4000 * 40 <= 48 * 1024 * 1024);
});

test("what is collected", async () => {
  /** @type {any[]} */
  const asked = [];
  const refs = Array.from({ length: 450 }, (_, at) => `run${at}`);
  const data = await collect({
    get: async (path, params) => {
      asked.push(["get", path]);
      if (path === "meta") return { token: "secret", places: [{ place: "/p", writable: true }] };
      if (path === "columns") return [{ name: "config.lr" }, { name: "state" }];
      if (path !== "runs") return { id: path };
      const part = params.refs.split(",");
      return { refs: part, columns: { name: { values: part }, "config.lr": { dictionary: ["a"], index: part.map(() => 0) } } };
    },
    post: async (path) => { asked.push(["post", path]); return path === "keys" ? [{ key: "loss", kind: "number" }, { key: "text", kind: "text" }] : {}; },
    bytes: async (request) => { asked.push(["series", request.writers, request.panels.length]); return new ArrayBuffer(8); },
  }, { rows: refs, selected: ["run3", "run1"], x: "step", logX: false, baseline: "", address: "#/charts" });
  assert.equal(data.answers.meta.token, "");
  assert.equal(data.answers.meta.places[0].writable, false);
  assert.deepEqual(data.answers.runs.refs.slice(0, 3), ["run3", "run1", "run0"]);
  assert.equal(data.answers.runs.refs.length, 450);
  assert.equal(data.answers.runs.columns["config.lr"].values.length, 450);
  assert.equal(data.answers.runs.columns.step.values[7], null);
  assert.ok("runs/run3" in data.answers && "compare" in data.posts);
  assert.deepEqual(asked.filter(([kind]) => kind === "series"), [["series", "together", 1], ["series", "apart", 1]]);
});

test("each metric is saved over the x axis that its panel has", async () => {
  /** @type {any[]} */
  const asked = [];
  await collect({
    get: async (path) => (path === "meta" ? { places: [] } : path === "columns" ? [] : { refs: [], columns: {} }),
    post: async (path) => (path === "keys" ? [{ key: "loss", kind: "number" }, { key: "val", kind: "number", step_metric: "epoch" }] : {}),
    bytes: async (request) => { asked.push([request.x, request.panels.map((/** @type {any} */ panel) => panel.key).join()]); return new ArrayBuffer(8); },
  }, { rows: [], selected: ["run1"], x: "auto", logX: false, baseline: "", address: "" });
  assert.deepEqual(asked.slice(0, 2), [["step", "loss"], ["metric:epoch", "val"]]);
});
