// The charts of a page: which there are, and what they have in common: runs, x axis, zoom, smoothing.

import { Chart } from "./chart.js";
import { byId, element } from "./dom.js";
import * as format from "./format.js";
import { AXES } from "./run.js";
import { saveTable } from "./save.js";

const SPECS = [
  {
    id: "loss", title: "Loss", format: format.loss, tick: format.tick, finite: true,
    series: [{ key: "train_loss", label: "Train" }, { key: "eval_loss", label: "Eval", dots: true }],
  },
  { id: "rate", title: "Learning rate", series: [{ key: "learning_rate" }], format: format.rate, tick: format.rate, fromZero: true },
  { id: "norm", title: "Gradient norm", series: [{ key: "grad_norm" }], format: format.loss, tick: format.tick, fromZero: true },
  { id: "tokens", title: "Tokens per second", series: [{ key: "tokens_per_second" }], format: format.count, tick: format.count, fromZero: true },
  {
    id: "memory", title: "GPU memory, GB", format: format.gigabytes, tick: format.tick, fromZero: true,
    series: [{ key: "gpu_memory_allocated_gb", label: "Used" }, { key: "gpu_memory_reserved_gb", label: "Reserved" }],
  },
  { id: "gpu", title: "GPU utilisation", series: [{ key: "gpu_utilization_percent" }], format: format.percent, tick: format.percent, fromZero: true },
];

export class Charts {
  constructor() {
    this.runs = [];
    this.axis = "step";
    this.smoothing = 0;
    this.range = null;
    this.frame = null;
    this.charts = SPECS.map((spec) => ({ spec, chart: null }));
    for (const [value, { label }] of Object.entries(AXES)) byId("axis").append(element("option", { value }, label));
    byId("axis").addEventListener("change", (event) => {
      this.axis = event.target.value;
      this.zoom(null);
    });
    byId("smoothing").addEventListener("input", (event) => {
      this.smoothing = Number(event.target.value);
      this.schedule();
    });
    byId("zoom-reset").addEventListener("click", () => this.zoom(null));
    byId("csv").addEventListener("click", () => saveTable(this.runs, SPECS.flatMap(({ series }) => series.map(({ key }) => key))));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.schedule());
  }

  show(runs) {
    this.runs = runs;
    this.schedule();
  }

  schedule() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  // A chart shows up with its first value.
  draw() {
    for (const option of byId("axis").options) {
      option.disabled = !this.runs.some((run) => run.points.length && run.places(option.value));
    }
    this.whole = this.extent();
    for (const one of this.charts) {
      if (!one.chart) {
        const fresh = new Chart(one.spec, this);
        if (!fresh.hasValues()) continue;
        one.chart = fresh;
        byId("charts").append(...this.charts.flatMap(({ chart }) => (chart ? [chart.root] : [])));
      }
      one.chart.update();
    }
    byId("chart-tools").hidden = !this.charts.some(({ chart }) => chart);
  }

  extent() {
    const ends = this.runs.map((run) => run.places(this.axis) ?? []).filter((places) => places.length)
      .flatMap((places) => [places[0], places.at(-1)]);
    return ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1];
  }

  // Of all charts, so that they stand above each other.
  domain() {
    const [low, high] = this.range ?? this.whole;
    return low === high ? [low - 1, high + 1] : [low, high];
  }

  // Within what there is; all of it is no zoom.
  zoom(range) {
    const [low, high] = this.whole;
    const within = range && [Math.max(low, range[0]), Math.min(high, range[1])];
    const isPart = within && within[1] > within[0] && (within[0] > low || within[1] < high);
    this.range = isPart ? within : null;
    byId("zoom-reset").hidden = !isPart;
    this.schedule();
  }
}
