import assert from "node:assert/strict";
import test from "node:test";
import { csvField, pictureCsv } from "../../../tracker/ui/static/js/chart/csv.js";
import { describe, rowsOf } from "../../../tracker/ui/static/js/chart/describe.js";
import { drawPicture } from "../../../tracker/ui/static/js/chart/draw.js";
import { nearestShape, readingAt, readingsAt, segment } from "../../../tracker/ui/static/js/chart/nearest.js";
import { DEFAULTS, makePicture } from "../../../tracker/ui/static/js/chart/picture.js";
import { pointAt } from "../../../tracker/ui/static/js/chart/pointing.js";
import { traceOf } from "../../../tracker/ui/static/js/chart/series.js";
import { badCount, marksAt } from "../../../tracker/ui/static/js/chart/strip.js";
import { escapeXml, svgSurface } from "../../../tracker/ui/static/js/chart/svg.js";
import { choosePlace } from "../../../tracker/ui/static/js/chart/values.js";
import { valueText } from "../../../tracker/ui/static/js/chart/words.js";

const measure = (text, size) => text.length * size * 0.6;
const THEME = { surface: "#fff", line: "#ddd", grid: "#eee", cursor: "#555", text: "#111", muted: "#555", accent: "#00f", bad: "#c00", warn: "#850", font: "sans-serif" };
const picture = (lines, options = {}, width = 400, height = 220) => makePicture(lines, { ...DEFAULTS, ...options }, width, height, 1, measure);

function points(ys, xs = ys.map((_, i) => i), run = "r") {
  return { key: "loss", run, total: xs.length, raw: true, x0: Float64Array.from(xs), mean: Float64Array.from(ys) };
}

/** Buckets of 2,500 values around f; `spike` is the index of one that holds a single value of 50. */
function buckets(run, f, spike = -1, count = 400) {
  const series = { key: "loss", run, total: count * 2500, raw: false, x0: [], x1: [], low: [], high: [], mean: [], n: [], bad: [] };
  for (let i = 0; i < count; i++) {
    const mean = f(i / count);
    series.x0.push(i * 2500);
    series.x1.push(i * 2500 + 2499);
    series.low.push(mean - 0.2);
    series.high.push(i === spike ? 50 : mean + 0.2 + 0.02 * Math.sin(i * 7));
    series.mean.push(mean);
    series.n.push(2500);
    series.bad.push(0);
  }
  return series;
}

const line = (series, extra = {}) => ({ id: series.run, run: series.run, label: series.run, color: "#123456", dash: [], series, ...extra });

function svgOf(made) {
  const surface = svgSurface(made.width, made.height, "sans-serif", measure);
  drawPicture(surface, made, THEME);
  return surface.finish("#fff", "chart");
}

test("one value in a million is a needle to its full height: alone, among 100 runs, smoothed, in a group, on a narrow chart", () => {
  const one = [line(buckets("a", () => 1, 137))];
  const hundred = Array.from({ length: 100 }, (_, i) => line(buckets(`r${i}`, (x) => Math.sin(x * 6 + i), i === 40 ? 137 : -1)));
  const group = [line(buckets("a", () => 1, 137), { runs: new Uint32Array(400).fill(3), members: 3, band: { low: new Float64Array(400).fill(0.9), high: new Float64Array(400).fill(1.1) } })];
  const cases = [[one, {}], [hundred, {}], [one, { smooth: 50000 }], [hundred, { smooth: 50000, smoothKind: "gaussian" }], [group, {}], [one, { logY: true }], [one, { band: "none" }]];
  for (const [lines, options] of cases) {
    for (const width of [400, 120]) {
      const made = picture(lines, options, width);
      const { needles } = made.shapes.find((shape) => shape.line.run === (lines === hundred ? "r40" : "a"));
      assert.ok(needles.count >= 1, JSON.stringify(options));
      const top = Math.min(...needles.tops.subarray(0, needles.count));
      assert.ok(Math.abs(top - made.y.at(50)) < 0.01 && top >= made.plot.top, JSON.stringify(options));
      const x = made.x.at(137 * 2500 + 1250);
      assert.ok(Math.abs(needles.xs[needles.tops.indexOf(top)] - x) <= 2);
      assert.ok(made.marks.some((mark) => mark.kind === "spike" && Math.abs(mark.pixel - x) <= 2));
    }
  }
});

test("where a smoothed line lies beside its values, only the spike is a needle", () => {
  const series = buckets("a", (x) => 20 * Math.exp(-8 * x), 240);
  for (const smooth of [0, 20_000, 100_000, 300_000]) {
    const { needles } = picture([line(series)], { smooth }).shapes[0];
    assert.equal(needles.count, 1, String(smooth));
  }
});

test("a needle upwards stands out where all buckets reach far down, as they do near 0 on a log axis", () => {
  const series = buckets("a", () => 0.1, 200);
  for (let i = 0; i < 400; i++) series.low[i] = 10 ** (-3 - (i % 7) / 2);
  series.high[200] = 2.5;
  const { needles } = picture([line(series)], { logY: true }).shapes[0];
  assert.deepEqual([...needles.index.subarray(0, needles.count)], [200]);
});

test("outliers left out of the range are marks at the edge, with the value in words", () => {
  const made = picture([line(buckets("a", () => 1, 137))], { outliers: true });
  assert.ok(made.y.high < 10);
  assert.deepEqual(made.clipped.map((mark) => [mark.value, mark.top]), [[50, true]]);
  assert.match(made.notes.join(), /outliers beyond the edge: up to 50/);
  assert.match(svgOf(made), />50<\/text>/);
});

test("needles of a line do not depend on the lines beside it, shorter, longer or with gaps", () => {
  const gaps = buckets("gaps", (x) => 2 + Math.cos(9 * x), 150, 300);
  for (let i = 0; i < 40; i++) gaps.n[i] = 0;
  const lines = [buckets("long", (x) => 2 + Math.sin(20 * x), 200), buckets("short", (x) => 3 - x, 12, 40), gaps, buckets("plain", (x) => x)].map((series) => line(series));
  const found = (some) => Object.fromEntries(picture(some, { xRange: [0, 1e6], yRange: [-5, 60] }).shapes.map((shape) => [shape.line.run, [...shape.needles.index.subarray(0, shape.needles.count)]]));
  const alone = Object.assign({}, ...lines.map((one) => found([one])));
  assert.deepEqual(alone, { long: [200], short: [12], gaps: [150], plain: [] });
  assert.deepEqual(found(lines), alone);
  assert.deepEqual(found([...lines].reverse()), alone);
});

test("usual noise makes no needles, also where buckets hold one or two values each", () => {
  let seed = 1;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const noise = () => random() + random() + random() + random() - 2;
  const series = buckets("pairs", () => 0);
  for (let i = 0; i < 400; i++) {
    const pair = i % 3 ? [noise(), noise()] : [noise()];
    series.n[i] = pair.length;
    series.low[i] = Math.min(...pair);
    series.high[i] = Math.max(...pair);
    series.mean[i] = pair.reduce((a, b) => a + b) / pair.length;
  }
  assert.ok(picture([line(series)]).shapes[0].needles.count <= 2);
  series.high[200] = 40;
  assert.equal(picture([line(series)]).shapes[0].needles.count, 1);
  assert.equal(picture([line(buckets("a", (x) => x))]).shapes[0].needles.count, 0);
});

test("more buckets than pixels are merged without losing minimum, maximum, mean or counts", () => {
  const ys = Array.from({ length: 100000 }, (_, i) => (i === 77777 ? -9 : Math.sin(i / 5000)));
  const made = picture([line(points(ys))]);
  const { trace, count } = made.shapes[0];
  assert.ok(count <= 800 && !trace.raw);
  assert.equal(trace.n.reduce((a, b) => a + b), 100000);
  assert.equal(Math.min(...trace.low), -9);
  const mean = ys.reduce((a, b) => a + b) / ys.length;
  assert.ok(Math.abs(trace.mean.reduce((sum, value, i) => sum + value * trace.n[i], 0) / 100000 - mean) < 1e-9);
});

test("a line is not joined over NaN and infinities, and they are marks of their kind", () => {
  const made = picture([line(points([0, 1, NaN, 3, Infinity, 5, -Infinity, 7, 8]))]);
  const [shape] = made.shapes;
  assert.deepEqual([2, 4, 6].map((i) => Number.isNaN(shape.ys[i])), [true, true, true]);
  assert.deepEqual(made.marks.map((mark) => [mark.kind, mark.x0]), [["NaN", 2], ["+Inf", 4], ["-Inf", 6]]);
  assert.equal(badCount([traceOf(shape.line.series)]), 3);
  assert.deepEqual(marksAt(made.marks, made.x.at(4) + 1).map((mark) => mark.kind), ["+Inf"]);
  const mixed = buckets("a", () => 1);
  mixed.bad[200] = 3;
  const other = picture([line(mixed)]);
  assert.equal(other.shapes[0].breaks[201], 1);
  assert.deepEqual(other.marks.map((mark) => [mark.kind, mark.count]), [["not finite", 3]]);
});

test("what a log axis cannot show is counted", () => {
  const made = picture([line(points([1, 2, 0, -4, 8]))], { logY: true });
  assert.deepEqual(made.notes, ["2 values ≤ 0 not shown on the log axis"]);
  assert.match(picture([line(points([0, -1]))], { logY: true }).empty, /No value is above 0/);
  assert.match(picture([line(points([1, 2, 3], [0, 1, 10]))], { logX: true }).notes[0], /1 point at x ≤ 0/);
});

test("why a chart is empty is said", () => {
  assert.equal(picture([]).empty, "No points yet");
  assert.equal(picture([line(points([NaN, NaN]))]).empty, "All 2 values are NaN or infinite");
  assert.equal(picture([line(points([1, 2]))], { xRange: [50, 60] }).empty, "No finite values in this range");
});

test("no label is cut or overlaps another, whatever the values and the width", () => {
  const cases = [points([1e300, -1e300]), points([1e9, 1e9 + 1e-3]), points([0.5, 0.5]), points([1e-9, 3e-9]), points([-123456.7, 99999]), points([3], [1.5e6])];
  for (const series of cases) {
    for (const width of [120, 200, 400, 900]) {
      for (const xKind of ["step", "number", "relative", "time"]) {
        const texts = [];
        const record = new Proxy(svgSurface(width, 200, "sans-serif", measure), {
          get: (target, name) => (name === "text" ? (text, x, y, style) => texts.push({ text, x, y, wide: measure(text, style.size ?? 11), align: style.align ?? "left" }) : target[name]),
        });
        drawPicture(record, picture([line(series)], { xKind }, width, 200), THEME);
        const boxes = texts.map(({ text, x, y, wide, align }) => ({ text, y, from: align === "left" ? x : align === "right" ? x - wide : x - wide / 2, wide }));
        for (const box of boxes) assert.ok(box.from >= -1 && box.from + box.wide <= width + 1, `${box.text} at ${box.from} of ${width}`);
        const below = boxes.filter((box) => box.y > 185).sort((a, b) => a.from - b.from);
        for (let i = 1; i < below.length; i++) assert.ok(below[i - 1].from + below[i - 1].wide < below[i].from, `${below[i - 1].text} | ${below[i].text} ${width}`);
      }
    }
  }
});

test("the nearest line is found by distance in both directions, needles included", () => {
  const made = picture([line(points([0, 0, 0, 0], undefined, "low")), line(points([1, 1, 1, 1], undefined, "high"))]);
  assert.equal(nearestShape(made.shapes, 200, made.y.at(0.9)).shape.line.run, "high");
  assert.equal(nearestShape(made.shapes, 200, made.y.at(0.1)).shape.line.run, "low");
  const spiked = picture([line(buckets("flat", () => 30)), line(buckets("spiked", () => 1, 137))]);
  const x = spiked.x.at(137 * 2500 + 1250);
  assert.equal(nearestShape(spiked.shapes, x + 2, spiked.y.at(45)).shape.line.run, "spiked");
  assert.equal(segment(0, 5, 0, 0, 10, 0), 25);
  assert.equal(segment(-3, 4, 0, 0, 10, 0), 25);
});

test("values at the cursor: of lines that are there, the nearest among them, in the order of the screen", () => {
  const lines = Array.from({ length: 20 }, (_, i) => line(points([i, i, i], [0, 1, 2], `r${i}`)));
  lines.push(line(points([50], [0], "ended")));
  const made = picture(lines);
  const nearest = made.shapes.find((shape) => shape.line.run === "r7");
  const { readings, hidden } = readingsAt(made.shapes, made.x.at(1), made.y.at(7), nearest, 5);
  assert.deepEqual(readings.map((one) => one.shape.line.run), ["r9", "r8", "r7", "r6", "r5"]);
  assert.equal(hidden, 15);
  assert.equal(readingAt(made.shapes[20], made.x.at(1)), null);
});

test("the list of values never covers the line it is about, where there is a place that does not", () => {
  const covers = (box) => (box.left < 300 && box.left + box.width > 200 && box.top < 260 && box.top + box.height > 200 ? 10 : 0);
  for (const point of [[250, 230], [205, 210], [290, 250]]) {
    const box = choosePlace(120, 90, point, [800, 600], covers);
    assert.equal(covers(box), 0);
    assert.ok(box.left >= 0 && box.top >= 0 && box.left + box.width <= 800 && box.top + box.height <= 600);
  }
});

test("CSV has true points or buckets, the smoothed curve, and says which", () => {
  const text = pictureCsv([line(points([1, NaN, 3]))], { ...DEFAULTS, smooth: 2 });
  const rows = text.trim().split("\r\n");
  assert.equal(rows[0], "run,key,kind,step first,step last,mean,min,max,count,not finite,smoothed (ema 2)");
  assert.equal(rows[1], "r,loss,point,0,0,1,1,1,1,0,1");
  assert.match(rows[2], /^r,loss,point,1,1,NaN,,,0,1,$/);
  const cut = pictureCsv([line(buckets("b", () => 1))], { ...DEFAULTS, xRange: [0, 4999] }).trim().split("\r\n");
  assert.equal(cut.length, 3);
  assert.match(cut[1], /^b,loss,bucket,0,2499,1,0.8,1.2,2500,0$/);
  assert.equal(csvField('a"b,c'), '"a""b,c"');
  assert.equal(csvField("=1+1"), "'=1+1");
});

test("SVG is text-safe and vector only", () => {
  const evil = '<img src=x onerror="alert(1)">&\u0000\ud800';
  assert.equal(escapeXml(evil), "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;");
  const text = svgOf(picture([line(buckets("a", (x) => x, 137), { color: '"/><script>' })]));
  assert.ok(!text.includes("<script") && !text.includes("<image"));
  assert.match(text, /^<svg xmlns="http:\/\/www.w3.org\/2000\/svg"/);
  assert.ok((text.match(/<path /g) ?? []).length > 5);
});

test("a chart in words and as a table", () => {
  const lines = [line(points([1, NaN, 3]))];
  const options = { ...DEFAULTS, title: "train/loss" };
  assert.equal(describe(lines, options), "train/loss. 1 line, step 0 to 2. r: last 3, from 1 to 3, 1 NaN or infinite");
  assert.equal(describe([], options), "train/loss: no points");
  const { columns, rows } = rowsOf(lines, options);
  assert.equal(columns.length, rows[0].length);
  assert.deepEqual(rows[0], ["r", "3", "0", "2", "3", "1 at 0", "3 at 2", "1"]);
});

test("values near a large offset are told apart", () => {
  const made = picture([line(points([1e9, 1e9 + 0.25, 1e9 + 1]))]);
  const { list } = pointAt(made, [made.x.at(1), made.y.at(1e9 + 0.25)]);
  assert.match(list.rows[0].value, /^1,000,000,000\.25/);
  assert.equal(list.head, "step 1");
  assert.equal(valueText(0.041237), "0.041237");
  assert.equal(valueText(0.5, true), "0.50000");
  assert.equal(valueText(1e300), "1e300");
  assert.equal(valueText(-Infinity), "\u2212Inf");
});

test("a pointer on the strip lists its marks, elsewhere the values", () => {
  const made = picture([line(points([0, 1, NaN, 3, 4]))]);
  const strip = pointAt(made, [made.x.at(2), made.plot.bottom + 3]);
  assert.deepEqual(strip.list.rows.map((row) => row.value), ["NaN at step 2"]);
  const plot = pointAt(made, [made.x.at(3), made.y.at(3)]);
  assert.deepEqual([plot.run, plot.x], ["r", 3]);
  assert.equal(pointAt(made, [made.x.at(3), made.y.at(0.2)]).run, null);
  assert.equal(pointAt(picture([]), [100, 100]).list, null);
});
