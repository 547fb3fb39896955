import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { DASHES, NAMED, SERIES_DARK, SERIES_LIGHT, assign, deviations, home } from "../../../tracker/ui/static/js/core/palette10.js";

/** How people with full deuteranopia and protanopia see linear RGB (Machado, Oliveira, Fernandes 2009). */
const VISIONS = {
  normal: [1, 0, 0, 0, 1, 0, 0, 0, 1],
  deuteranopia: [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.01182, 0.04294, 0.968881],
  protanopia: [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998],
};

/** @param {string} hex @returns {number[]} linear RGB */
const linear = (hex) => hex.match(/\w\w/g).map((pair) => parseInt(pair, 16) / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
/** @param {number[]} m @param {number[]} v */
const times = (m, v) => [0, 3, 6].map((row) => m[row] * v[0] + m[row + 1] * v[1] + m[row + 2] * v[2]);

/** @param {number[]} rgb linear @returns {number[]} CIE L*a*b*, D65 */
function lab(rgb) {
  const [x, y, z] = times([0.4124564, 0.3575761, 0.1804375, 0.2126729, 0.7151522, 0.072175, 0.0193339, 0.119192, 0.9503041], rgb.map((c) => Math.min(1, Math.max(0, c))));
  const f = (t) => (t > 216 / 24389 ? Math.cbrt(t) : ((24389 / 27) * t + 16) / 116);
  const [fx, fy, fz] = [f(x / 0.95047), f(y), f(z / 1.08883)];
  return [116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)];
}

/** CIEDE2000. @param {number[]} one @param {number[]} two */
function difference(one, two) {
  const rad = Math.PI / 180;
  const mean = (Math.hypot(one[1], one[2]) + Math.hypot(two[1], two[2])) / 2;
  const g = 0.5 * (1 - Math.sqrt(mean ** 7 / (mean ** 7 + 25 ** 7)));
  const [a1, a2] = [one[1] * (1 + g), two[1] * (1 + g)];
  const [c1, c2] = [Math.hypot(a1, one[2]), Math.hypot(a2, two[2])];
  const hue = (a, b) => (a === 0 && b === 0 ? 0 : (Math.atan2(b, a) / rad + 360) % 360);
  const [h1, h2] = [hue(a1, one[2]), hue(a2, two[2])];
  const grey = c1 * c2 === 0;
  let dh = grey ? 0 : h2 - h1;
  if (dh > 180) dh -= 360;
  else if (dh < -180) dh += 360;
  const [dl, dc, dH] = [two[0] - one[0], c2 - c1, 2 * Math.sqrt(c1 * c2) * Math.sin((dh / 2) * rad)];
  const [l, c] = [(one[0] + two[0]) / 2, (c1 + c2) / 2];
  let h = h1 + h2;
  if (!grey) h = Math.abs(h1 - h2) <= 180 ? h / 2 : h < 360 ? (h + 360) / 2 : (h - 360) / 2;
  const t = 1 - 0.17 * Math.cos((h - 30) * rad) + 0.24 * Math.cos(2 * h * rad) + 0.32 * Math.cos((3 * h + 6) * rad) - 0.2 * Math.cos((4 * h - 63) * rad);
  const [sl, sc, sh] = [1 + (0.015 * (l - 50) ** 2) / Math.sqrt(20 + (l - 50) ** 2), 1 + 0.045 * c, 1 + 0.015 * c * t];
  const turn = -2 * Math.sqrt(c ** 7 / (c ** 7 + 25 ** 7)) * Math.sin(60 * rad * Math.exp(-(((h - 275) / 25) ** 2)));
  return Math.sqrt((dl / sl) ** 2 + (dc / sc) ** 2 + (dH / sh) ** 2 + turn * (dc / sc) * (dH / sh));
}

test("the measure of difference agrees with the published data", () => {
  for (const [one, two, expected] of [
    [[50, 2.6772, -79.7751], [50, 0, -82.7485], 2.0425], [[50, 2.5, 0], [73, 25, -18], 27.1492], [[60.2574, -34.0099, 36.2677], [60.4626, -34.1751, 39.4387], 1.2644],
    [[22.7233, 20.0904, -46.694], [23.0331, 14.973, -42.5619], 2.0373], [[50, 0, 0], [50, -1, 2], 2.3669],
  ]) assert.ok(Math.abs(difference(one, two) - expected) < 1e-4, String(expected));
});

for (const [theme, colors] of [["light", SERIES_LIGHT], ["dark", SERIES_DARK]]) {
  test(`ten colours of the ${theme} theme are told apart with any colour vision`, (context) => {
    assert.equal(colors.length, 10);
    for (const [vision, matrix] of Object.entries(VISIONS)) {
      const seen = colors.map((color) => lab(times(matrix, linear(color))));
      let least = Infinity;
      for (let a = 0; a < 10; a += 1) for (let b = a + 1; b < 10; b += 1) least = Math.min(least, difference(seen[a], seen[b]));
      context.diagnostic(`${theme}, ${vision}: ${least.toFixed(2)}`);
      assert.ok(least >= 20, `${vision}: ${least}`);
    }
  });

  test(`lines of the ${theme} theme stand out from the page`, () => {
    const luminance = (hex) => times([0.2126, 0.7152, 0.0722, 0, 0, 0, 0, 0, 0], linear(hex))[0];
    const page = luminance(theme === "light" ? "#ffffff" : "#161b22");
    for (const color of colors) {
      const one = luminance(color);
      assert.ok((Math.max(one, page) + 0.05) / (Math.min(one, page) + 0.05) >= 2.2, color);
    }
  });
}

const REFS = Array.from({ length: 100 }, (_, at) => `run${(at * 2654435761 % 2 ** 32).toString(36)}`);

test("the colour comes from the id, and the ids use all colours", () => {
  assert.equal(home("abc"), home("abc"));
  assert.equal(new Set(REFS.map(home)).size, 10);
});

test("ten selected runs have ten colours; beyond ten, dashes tell them apart", () => {
  assert.equal(new Set(assign(REFS.slice(0, 10), new Map()).values()).size, 10);
  const slots = [...assign(REFS.slice(0, 60), new Map()).values()];
  assert.equal(new Set(slots).size, 60);
  assert.ok(Math.max(...slots) < 10 * DASHES.length);
});

test("a run is shifted only where its colour is taken", () => {
  const slots = assign(REFS.slice(0, 10), new Map());
  const first = new Set();
  for (const ref of REFS.slice(0, 10)) {
    if (!first.has(home(ref)) && ![...slots].some(([other, slot]) => other !== ref && slot === home(ref))) assert.equal(slots.get(ref), home(ref));
    first.add(home(ref));
  }
});

test("showing and hiding a run changes no other run's colour", () => {
  let slots = assign(REFS.slice(0, 8), new Map());
  const before = new Map(slots);
  slots = assign(REFS.slice(2, 12), slots);
  for (const ref of REFS.slice(2, 8)) assert.equal(slots.get(ref), before.get(ref));
  slots = assign(REFS.slice(0, 12), slots);
  for (const ref of REFS.slice(2, 8)) assert.equal(slots.get(ref), before.get(ref));
});

test("the colors with names are those that an edit may have", () => {
  const source = readFileSync(new URL("../../../sidecar/protocol/bodies.py", import.meta.url), "utf8");
  const names = /^COLORS = \(([^)]*)\)/m.exec(source)[1].match(/\w+/g);
  assert.deepEqual(Object.keys(NAMED), names);
});

test("slots are made again from those that deviate", () => {
  assert.equal(deviations(REFS.slice(0, 20), assign(REFS.slice(0, 20), new Map())).size, 0);
  let slots = assign(REFS.slice(0, 12), new Map());
  for (const [from, to] of [[3, 14], [5, 9], [0, 25], [7, 30]]) {
    const refs = REFS.slice(from, to);
    slots = assign(refs, slots);
    assert.deepEqual(new Map([...assign(refs, deviations(refs, slots))].sort()), new Map([...slots].sort()));
  }
});
