import assert from "node:assert/strict";
import test from "node:test";

/** Answers that are awaited, by the part of the address behind the API's. @type {Map<string, (answer: any) => void>} */
const awaited = new Map();

globalThis.location = /** @type {any} */ ({ href: "http://127.0.0.1/", hash: "" });
globalThis.document = /** @type {any} */ ({ getElementById: () => null, addEventListener: () => undefined, hidden: false });
globalThis.fetch = /** @type {any} */ ((/** @type {string} */ url) => new Promise((done) => {
  const { pathname, searchParams } = new URL(url);
  const name = pathname.replace("/api/v1/", "") + (searchParams.has("refs") ? ` of ${searchParams.get("refs")}` : "");
  awaited.set(name, (answer) => done(new Response(JSON.stringify(answer))));
}));

const later = globalThis.setTimeout;
globalThis.setTimeout = /** @type {any} */ ((/** @type {() => void} */ fn, wait = 0) => (wait > 1000 ? later(fn, wait).unref() : later(fn, wait)));

const { drop, ensureColumns, meta, patch, poll, refresh, runs, valueOf } = await import("../../../tracker/ui/static/js/core/runs.js");

const { address, take } = await import("../../../tracker/ui/static/js/core/ahead.js");

/** @param {string} name */
async function asked(name) {
  while (!awaited.has(name)) await new Promise((done) => setTimeout(done, 1));
  const answer = /** @type {(answer: any) => void} */ (awaited.get(name));
  awaited.delete(name);
  return answer;
}

/** @param {string[]} refs @param {string[]} names @param {string[]} notes */
const rowsOf = (refs, names, notes) => ({ cursor: "1", refs, columns: { id: { values: refs }, name: { values: names }, notes: { values: notes } } });

test("what the user does while an answer is awaited is not reversed by it", async () => {
  awaited.clear(); // what is sent ahead
  const loaded = ensureColumns(["id", "name", "notes"]);
  (await asked("runs"))(rowsOf(["a", "b"], ["one", "two"], ["", ""]));
  await loaded;

  const refreshed = refresh(["a", "b"]);
  const answer = await asked("runs of a,b");
  patch("a", { name: "better" });
  drop(new Set(["b"]));
  answer(rowsOf(["a", "b"], ["one", "two"], ["from elsewhere", ""]));
  await refreshed;
  assert.deepEqual(runs.peek().refs, ["a"]);
  assert.equal(valueOf("a", "name"), "better");
  assert.equal(valueOf("a", "notes"), "from elsewhere");

  const again = refresh(["a", "b"]);
  (await asked("runs of a,b"))(rowsOf(["a", "b"], ["best", "two"], ["", ""]));
  await again;
  assert.deepEqual(runs.peek().refs, ["a", "b"]);
  assert.equal(valueOf("a", "name"), "best");
});

void take(address("meta")); // what was sent ahead is never answered here

test("while the server reads runs for the first time, it is asked for the progress only; then for all runs", async () => {
  meta.value = /** @type {any} */ ({ version: "", token: "", places: [], now: 0, indexing: { done: 0, total: 0 } });
  const first = poll();
  (await asked("changes"))({ cursor: "1", changed: [], removed: [], all: true, errors: [], indexing: { done: 1, total: 3 } });
  (await asked("meta"))({ version: "", token: "", places: [], now: 0, indexing: { done: 1, total: 3 } });
  (await asked("runs"))({ ...rowsOf(["c"], ["three"], [""]), indexing: { done: 1, total: 3 } });
  await first;
  assert.equal(runs.peek().partial, true);

  const second = poll();
  (await asked("changes"))({ cursor: "1", changed: [], removed: [], all: false, errors: [], indexing: { done: 2, total: 3 } });
  await second;
  assert.deepEqual([meta.peek()?.indexing, runs.peek().refs, awaited.size], [{ done: 2, total: 3 }, ["c"], 0]);

  const third = poll();
  (await asked("changes"))({ cursor: "2", changed: ["a", "b"], removed: [], all: false, errors: [], indexing: null });
  (await asked("meta"))({ version: "", token: "", places: [], now: 0, indexing: null });
  (await asked("runs"))({ ...rowsOf(["c", "b", "a"], ["three", "two", "one"], ["", "", ""]), indexing: null });
  await third;
  assert.deepEqual([runs.peek().partial, runs.peek().refs], [false, ["c", "b", "a"]]);
});

test("the page asks when it expects that all runs are read", async () => {
  const { untilRead } = await import("../../../tracker/ui/static/js/core/polling.js");
  assert.equal(untilRead(null, { done: 500, at: 1000 }, 10_000), 500);
  assert.equal(untilRead({ done: 500, at: 1000 }, { done: 2500, at: 1500 }, 10_000), 500);
  assert.equal(untilRead({ done: 7500, at: 1000 }, { done: 9000, at: 1500 }, 10_000), 1000 / 3);
  assert.equal(untilRead({ done: 8000, at: 1000 }, { done: 9999, at: 1500 }, 10_000), 100);
  assert.equal(untilRead({ done: 0, at: 1000 }, { done: 0, at: 1500 }, 0), 500);
});
