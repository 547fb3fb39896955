// A page with charts of made-up series, for test_chart_engine.py. The calls of each chart's callbacks are in `window.calls`.
import { Chart } from "./js/chart/chart.js";

const COLORS = ["#2563c9", "#d9480f", "#2b8a3e", "#9c36b5", "#b8860b"];

/** Buckets of 2,500 values each; one value of `spike.value` lies at bucket `spike.at`. */
function buckets(run, base, spike, count = 400) {
  const column = () => new Float64Array(count);
  const series = { key: "loss", run, total: count * 2500, raw: false, x0: column(), x1: column(), low: column(), high: column(), mean: column(), n: column(), bad: column() };
  for (let i = 0; i < count; i++) {
    const mean = base + Math.sin(i / 40) * 0.3;
    series.x0[i] = i * 2500;
    series.x1[i] = i * 2500 + 2499;
    series.low[i] = mean - 0.2;
    series.high[i] = spike?.at === i ? spike.value : mean + 0.2;
    series.mean[i] = mean;
    series.n[i] = 2500;
  }
  return series;
}

function points(run, ys) {
  return { key: "loss", run, total: ys.length, raw: true, x0: Float64Array.from(ys, (_, i) => i), mean: Float64Array.from(ys) };
}

const line = (series, i = 0) => ({ id: series.run, run: series.run, label: series.run, color: COLORS[i % COLORS.length], dash: [], series });

window.calls = [];
window.charts = {};
window.add = (name, lines, options = {}) => {
  const host = document.createElement("div");
  host.className = "host";
  document.body.append(host);
  const chart = new Chart(host, {
    title: name,
    ...options,
    onHover: (run, x) => window.calls.push(["hover", run, x]),
    onPick: (run) => window.calls.push(["pick", run]),
    onZoom: (range, { axis, done }) => {
      window.calls.push(["zoom", axis, range, done]);
      chart.setOptions(axis === "x" ? { xRange: range } : { yRange: range });
    },
  });
  chart.setData(lines);
  window.charts[name] = chart;
  return chart;
};
window.runs = (count, spiked = -1, value = 50) =>
  Array.from({ length: count }, (_, i) => line(buckets(`run-${i}`, i * 0.02, i === spiked ? { at: 137, value } : null), i));
window.raw = (run, ys, i = 0) => line(points(run, ys), i);

/** Whether the canvas has the line's colour in the pixel columns beside the spike, near a height. */
window.coloured = (name, x, y, reach = 2) => {
  const { board } = window.charts[name];
  board.paint();
  const r = board.ratio;
  const left = Math.round((x - reach) * r);
  const { data, width } = board.canvas.getContext("2d").getImageData(left, Math.round((y - 1) * r), Math.round(2 * reach * r), Math.max(1, Math.round(2 * r)));
  for (let i = 0; i < data.length; i += 4) {
    const strongest = Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]);
    if (data[i + 3] > 120 && strongest > 40) return true;
  }
  return width < 0;
};
window.ready = true;
document.body.dataset.ready = "1";
