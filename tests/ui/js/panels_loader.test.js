import assert from "node:assert/strict";
import { test } from "node:test";

import { SeriesCache } from "../../../tracker/ui/static/js/panels/cache.js";
import { marginFor } from "../../../tracker/ui/static/js/panels/frame.js";
import { Loader } from "../../../tracker/ui/static/js/panels/loader.js";

function series(key, run, { raw = false, total = 1000, points = 4, panel = 0 } = {}) {
  const x0 = new Float64Array(points), mean = new Float64Array(points);
  return { panel, key, run, writer: "w", label: null, total: raw ? points : total, raw, x0, x1: x0, low: mean, high: mean, mean, last: mean, n: null, bad: null };
}

/** A loader with hand-driven frames, timers and requests. */
function setup() {
  const requests = [], frames = [], timers = [], answers = new Map();
  const loader = new Loader({
    fetch: (request, { signal }) => new Promise((resolve, reject) => {
      requests.push({ request, signal, resolve, reject });
      signal.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
    }),
    deliver: (panel, answer) => answers.set(panel, answer),
    schedule: (fn) => frames.push(fn),
    later: (fn, seconds) => timers.push({ fn, seconds }),
  });
  const frame = async () => {
    await new Promise((resolve) => setImmediate(resolve));
    for (const fn of frames.splice(0)) fn();
    await new Promise((resolve) => setImmediate(resolve));
  };
  const reply = async (index, options) => {
    const { request, resolve } = requests[index];
    resolve({ errors: [], series: request.panels.flatMap((panel, i) => panel.runs.map((run) => series(panel.key, run, { ...options, panel: i }))) });
    await frame();
  };
  return { loader, requests, timers, answers, frame, reply };
}

const want = (key, runs, near = true, count = 400) => ({ key, runs, count, near });
const asked = ({ request }) => request.panels.map((panel) => [panel.key, panel.runs]);

test("all panels on the screen go into one request; those beyond it follow", async () => {
  const { loader, requests, answers, frame, reply } = setup();
  loader.want("1", want("loss", ["a", "b"]));
  loader.want("2", want("acc", ["a", "b"]));
  loader.want("3", want("far", ["a", "b"], false));
  await frame();
  assert.equal(requests.length, 1);
  assert.deepEqual(asked(requests[0]), [["loss", ["a", "b"]], ["acc", ["a", "b"]]]);
  assert.equal(answers.get("1").pending, 2);
  await reply(0);
  assert.equal(answers.get("1").pending, 0);
  assert.deepEqual(answers.get("1").series.map((one) => one.run), ["a", "b"]);
  assert.deepEqual(asked(requests[1]), [["far", ["a", "b"]]]);
});

test("scrolling back asks for nothing, a new run only for itself", async () => {
  const { loader, requests, answers, frame, reply } = setup();
  loader.want("1", want("loss", ["a"]));
  await frame();
  await reply(0);
  loader.drop("1");
  loader.want("1", want("loss", ["a"]));
  await frame();
  assert.equal(requests.length, 1);
  assert.equal(answers.get("1").series.length, 1);
  loader.want("1", want("loss", ["a", "b"]));
  await frame();
  assert.deepEqual(asked(requests[1]), [["loss", ["b"]]]);
});

test("after a change only the changed run is asked for again, and the old picture stays until then", async () => {
  const { loader, requests, answers, frame, reply } = setup();
  loader.want("1", want("loss", ["a", "b"]));
  loader.want("2", want("acc", ["b"]));
  await frame();
  await reply(0);
  loader.refresh(["a", "other"]);
  await frame();
  assert.deepEqual(asked(requests[1]), [["loss", ["a"]]]);
  assert.equal(answers.get("1").pending, 0);
  loader.refresh(["a"]);
  await frame();
  assert.equal(requests.length, 2, "no second request for a run while one is under way");
  await reply(1);
  assert.deepEqual(asked(requests[2]), [["loss", ["a"]]], "the answer was of before the second change");
});

test("another view aborts what is under way, also while nothing new is asked yet", async () => {
  const { loader, requests, timers, frame } = setup();
  loader.want("1", want("loss", ["a"]));
  await frame();
  loader.setFrame({ ...loader.frame, low: 10, high: 20 }, 0.08);
  await frame();
  assert.equal(requests[0].signal.aborted, true);
  assert.equal(requests.length, 1);
  loader.setFrame({ ...loader.frame, low: 12, high: 20 }, 0.08);
  timers[0].fn();
  await frame();
  assert.equal(requests.length, 1, "the first delay is over, but another view has come");
  timers[1].fn();
  await frame();
  assert.equal(requests[1].request.low, 12);
});

test("a request of which no panel is left on the screen is aborted", async () => {
  const { loader, requests, frame } = setup();
  loader.want("1", want("loss", ["a"]));
  loader.want("2", want("acc", ["a"]));
  await frame();
  loader.drop("1");
  assert.equal(requests[0].signal.aborted, false);
  loader.drop("2");
  assert.equal(requests[0].signal.aborted, true);
});

test("all points of a series serve every zoom", async () => {
  const { loader, requests, answers, frame, reply } = setup();
  loader.want("1", want("loss", ["a"]));
  await frame();
  await reply(0, { raw: true });
  loader.setFrame({ ...loader.frame, low: 1, high: 2 });
  await frame();
  assert.equal(requests.length, 1);
  assert.equal(answers.get("1").series.length, 1);
  loader.refresh(["a"]);
  await frame();
  assert.equal(requests.length, 2, "but not after the run has changed");
});

test("a panel may have a zoom of its own; it gets a request of its own", async () => {
  const { loader, requests, answers, frame, reply } = setup();
  loader.want("1", want("loss", ["a"]));
  loader.want("2", { ...want("loss", ["a"]), own: { low: 5, high: 6 } });
  await frame();
  assert.deepEqual(requests.map(({ request }) => request.low), [null, 5]);
  await reply(0);
  assert.equal(answers.get("2").pending, 1);
  await reply(1);
  assert.equal(answers.get("2").pending, 0);
});

test("a failed request says so in each panel and is tried again after a growing time", async () => {
  const { loader, requests, timers, answers, frame, reply } = setup();
  loader.want("1", want("loss", ["a"]));
  await frame();
  requests[0].reject(new Error("no answer"));
  await frame();
  await frame();
  assert.equal(answers.get("1").failure, "no answer");
  assert.equal(requests.length, 1);
  timers[0].fn();
  await frame();
  requests[1].reject(new Error("no answer"));
  await frame();
  assert.equal(timers[1].seconds, 2 * timers[0].seconds);
  timers[1].fn();
  await frame();
  await reply(2);
  assert.equal(answers.get("1").failure, "");
  assert.equal(answers.get("1").pending, 0);
});

test("many runs are split over several requests, at most two at once", async () => {
  const { loader, requests, frame } = setup();
  const runs = Array.from({ length: 100 }, (_, i) => `r${i}`);
  for (let i = 0; i < 9; i++) loader.want(String(i), want(`m${i}`, runs));
  await frame();
  assert.equal(requests.length, 2);
  assert.deepEqual(requests.map(({ request }) => request.panels.length), [3, 3]);
});

test("the cache is bounded in bytes and drops the longest unused", () => {
  const cache = new SeriesCache(3 * 10_000);
  const one = () => [series("k", "r", { points: 500 })];
  for (const key of ["a", "b", "c"]) cache.set(key, one());
  cache.get("a");
  cache.set("d", one());
  assert.equal(cache.get("b"), undefined);
  assert.ok(cache.get("a"));
  assert.ok(cache.bytes <= cache.limitBytes);
  cache.clear();
  assert.equal(cache.bytes, 0);
});

test("the margin covers what smoothing needs left of the view", () => {
  assert.equal(marginFor(0, "ema", null), 0);
  assert.equal(marginFor(0, "ema", [0, 100]), 0.25);
  assert.equal(marginFor(20, "ema", [0, 100]), 1.5);
  assert.equal(marginFor(20, "mean", [0, 100]), 0.25);
  assert.equal(marginFor(1e6, "ema", [0, 100]), 4);
});
