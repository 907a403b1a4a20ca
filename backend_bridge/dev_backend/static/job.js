// The page of one job.

import { LineChart } from "./chart.js";
import { badge, byId, element, setText } from "./dom.js";
import * as format from "./format.js";
import { LogView } from "./log.js";
import { showBridge, showConnection } from "./shell.js";
import { Stream } from "./stream.js";

const TICK_MS = 1000;
const path = `/api/dev/events/${location.pathname.split("/")[2]}`; // the id stays encoded
const points = new Map(); // step → point; a step that was trained again replaces the first try
const log = new LogView();
let job = null;

// The optional ones show up with their first value.
const charts = {
  "chart-loss": {
    title: "Loss",
    series: [{ key: "train_loss", label: "Train" }, { key: "eval_loss", label: "Eval", dots: true }],
    format: format.loss, tickFormat: format.tick,
  },
  "chart-rate": { title: "Learning rate", series: [{ key: "learning_rate" }], format: format.rate, fromZero: true },
  "chart-tokens": { title: "Tokens per second", series: [{ key: "tokens_per_second" }], format: format.compact, fromZero: true },
  "chart-norm": { title: "Gradient norm", series: [{ key: "grad_norm" }], format: format.loss, tickFormat: format.tick, fromZero: true, optional: true },
  "chart-memory": {
    title: "GPU memory",
    series: [{ key: "gpu_memory_allocated_gb", label: "Used" }, { key: "gpu_memory_reserved_gb", label: "Reserved" }],
    format: format.gigabytes, tickFormat: format.tick, fromZero: true, optional: true,
  },
  "chart-gpu": { title: "GPU utilisation", series: [{ key: "gpu_utilization_percent" }], format: format.percent, fromZero: true, optional: true },
};
const drawn = Object.entries(charts).map(([id, options]) => ({ id, options, chart: null }));

function drawCharts() {
  const sorted = [...points.values()].sort((a, b) => a.step - b.step);
  for (const one of drawn) {
    const used = sorted.some((p) => one.options.series.some(({ key }) => p[key] != null));
    if (one.options.optional && !used) continue;
    byId(one.id).hidden = false;
    one.chart ??= new LineChart(byId(one.id), one.options);
    one.chart.update(sorted);
  }
}

// In place where the names are the same, so that selected text stays selected.
function definitions(node, entries) {
  if (node.childElementCount !== entries.length) {
    node.replaceChildren(...entries.map(() => element("div", {}, element("dt"), element("dd"))));
  }
  entries.forEach(([name, value, title = ""], index) => {
    const [term, detail] = node.children[index].children;
    setText(term, name);
    setText(detail, String(value));
    detail.title = title;
  });
}

function showTiles() {
  const { latest } = job;
  const steps = job.planned_steps ? ` / ${format.count(job.planned_steps)}` : "";
  const epochs = job.planned_epochs ? ` / ${job.planned_epochs}` : "";
  definitions(byId("tiles"), [
    ["Step", latest.step == null ? format.NONE : format.count(latest.step) + steps],
    ["Epoch", latest.epoch == null ? format.NONE : latest.epoch + epochs],
    ["Train loss", format.loss(latest.train_loss)],
    ["Eval loss", format.loss(latest.eval_loss)],
    ["Perplexity", format.loss(latest.perplexity)],
    ["Tokens per second", format.compact(latest.tokens_per_second)],
    ["Elapsed", format.elapsed(job), `Started ${format.moment(job.started_at)}`],
  ]);
}

function showJob() {
  const name = job.model_name || job.job_id;
  byId("job").hidden = false;
  document.title = `${job.status} · ${name} · Trainyard`;
  setText(byId("model"), name);
  setText(byId("job-id"), job.job_id);
  if (byId("status").textContent !== job.status) byId("status").replaceChildren(badge(job.status));
  byId("error").hidden = !job.error;
  setText(byId("error").querySelector("p"), job.error ?? "");
  showTiles();
  definitions(byId("facts"), [
    ["Data set", job.dataset_path || format.NONE],
    ["User", job.user_id || format.NONE],
    ["Created", format.moment(job.created_at)],
    ["Started", format.moment(job.started_at)],
    ["Ended", format.moment(job.ended_at)],
    ["Last report", format.moment(job.updated_at)],
  ]);
  setText(byId("config"), JSON.stringify(job.config, null, 2));
}

function apply(changes) {
  job = changes.job;
  showJob();
  for (const point of changes.metrics) points.set(point.step, { ...points.get(point.step), ...point });
  drawCharts();
  log.append(changes.lines, changes.lines_cut);
}

setInterval(() => job && showTiles(), TICK_MS);
showBridge();
new Stream(path, { changes: apply }, {
  onState: showConnection,
  onGone: () => {
    byId("missing").hidden = false;
    byId("connection").textContent = "";
  },
});
