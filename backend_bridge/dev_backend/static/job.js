// The page of one job.

import { LineChart } from "./chart.js";
import { showCheckpoints } from "./checkpoints.js";
import { Compare } from "./compare.js";
import { Controls } from "./controls.js";
import { badge, byId, element, setText } from "./dom.js";
import * as format from "./format.js";
import { LogView } from "./log.js";
import { showBridge, showConnection } from "./shell.js";
import { Stream } from "./stream.js";

const TICK_MS = 1000;
const encodedId = location.pathname.split("/")[2];
const jobId = decodeURIComponent(encodedId);
const points = new Map(); // step → point; a step that was trained again replaces the first try
const log = new LogView();
const controls = new Controls(jobId);
let job = null;
let live = null; // the bridge's status of the job; null where the bridge is away
let other = []; // points of the job compared with

// Each shows up with its first value.
const charts = {
  "chart-loss": {
    title: "Loss",
    series: [{ key: "train_loss", label: "Train" }, { key: "eval_loss", label: "Eval", dots: true }],
    format: format.loss, tickFormat: format.tick, finite: true,
  },
  "chart-rate": { title: "Learning rate", series: [{ key: "learning_rate" }], format: format.rate, fromZero: true },
  "chart-tokens": { title: "Tokens per second", series: [{ key: "tokens_per_second" }], format: format.compact, fromZero: true },
  "chart-norm": { title: "Gradient norm", series: [{ key: "grad_norm" }], format: format.loss, tickFormat: format.tick, fromZero: true },
  "chart-memory": {
    title: "GPU memory",
    series: [{ key: "gpu_memory_allocated_gb", label: "Used" }, { key: "gpu_memory_reserved_gb", label: "Reserved" }],
    format: format.gigabytes, tickFormat: format.tick, fromZero: true,
  },
  "chart-gpu": { title: "GPU utilisation", series: [{ key: "gpu_utilization_percent" }], format: format.percent, fromZero: true },
};
const drawn = Object.entries(charts).map(([id, options]) => ({ id, options, chart: null }));

function drawCharts() {
  const sorted = [...points.values()].sort((a, b) => a.step - b.step);
  for (const one of drawn) {
    const used = sorted.some((p) => one.options.series.some(({ key }) => p[key] != null));
    if (!used && !one.chart) continue;
    byId(one.id).hidden = byId("chart-tools").hidden = false;
    one.chart ??= new LineChart(byId(one.id), one.options, zoom);
    one.chart.update(sorted, other, one.options.finite && lossEnd(sorted));
  }
}

// The step from which on the loss is no finite number, which no point can hold; null if it is one.
function lossEnd(sorted) {
  const trained = sorted.filter((p) => p.learning_rate != null || p.train_loss != null);
  const last = trained.findLastIndex((p) => p.train_loss != null);
  return trained[last + 1]?.step ?? null;
}

// All charts show the same steps.
function zoom(range) {
  byId("zoom-reset").hidden = range === null;
  for (const { chart } of drawn) chart?.zoom(range);
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
  const step = format.reached(job, live);
  const lost = lossEnd([...points.values()].sort((a, b) => a.step - b.step)) !== null;
  const steps = job.planned_steps ? ` / ${format.count(job.planned_steps)}` : "";
  const epochs = job.planned_epochs ? ` / ${job.planned_epochs}` : "";
  definitions(byId("tiles"), [
    ["Step", step == null ? format.NONE : format.count(step) + steps],
    ["Epoch", latest.epoch == null ? format.NONE : latest.epoch + epochs],
    ["Train loss", lost ? "NaN" : format.loss(latest.train_loss), lost ? "No finite number any more" : ""],
    ["Eval loss", format.loss(latest.eval_loss)],
    ["Perplexity", format.loss(latest.perplexity)],
    ["Tokens per second", format.compact(latest.tokens_per_second)],
    ["Elapsed", format.elapsed(job, live), `Started ${format.moment(job.started_at)}`],
  ]);
}

function showJob() {
  byId("job").hidden = false;
  setText(byId("title"), format.title(job));
  setText(byId("job-id"), job.job_id);
  showState();
  const { method, learning_rate: rate } = job.config.training ?? {};
  definitions(byId("facts"), [
    ["Model", job.model_name || format.NONE],
    ["Method", method ?? format.NONE],
    ["Learning rate", rate ?? format.NONE],
    ["Data set", job.dataset_path || format.NONE],
    ["User", job.user_id || format.NONE],
    ["Created", format.moment(job.created_at)],
    ["Started", format.moment(job.started_at)],
    ["Ended", format.moment(job.ended_at)],
    ["Last report", format.moment(job.updated_at)],
  ]);
  setText(byId("config"), JSON.stringify(job.config, null, 2));
}

function showState() {
  const state = format.state(job, live);
  document.title = `${state} · ${format.title(job)} · Trainyard`;
  if (byId("status").textContent !== state) byId("status").replaceChildren(badge(state));
  byId("error").hidden = !job.error;
  setText(byId("error-text"), job.error ?? "");
  byId("hint").hidden = !live?.error_hint;
  setText(byId("hint"), live?.error_hint ?? "");
  showWarnings(live?.warnings ?? []);
  showTiles();
  const { text, share } = format.progress(job, live);
  byId("progress-card").hidden = share === null && live?.status !== "queued";
  setText(byId("progress-text"), text);
  byId("progress").hidden = share === null;
  byId("progress").value = 100 * (share ?? 0);
  setText(byId("time-left"), live?.slot ? `on ${live.slot}` : "");
}

// In place where there are as many, so that selected text stays selected.
function showWarnings(warnings) {
  const list = byId("warnings-list");
  byId("warnings").hidden = warnings.length === 0;
  if (list.childElementCount !== warnings.length) list.replaceChildren(...warnings.map(() => element("li")));
  warnings.forEach(({ sentence }, index) => setText(list.children[index], sentence));
}

function applyBridge({ status, checkpoints }) {
  live = status;
  controls.show(status?.status ?? null);
  showCheckpoints(checkpoints, status?.status === "paused", (path) => controls.ask("resume", { checkpoint_path: path }));
  if (job) showState();
}

function apply(changes) {
  job = changes.job;
  for (const point of changes.metrics) points.set(point.step, { ...points.get(point.step), ...point });
  showJob();
  drawCharts();
  log.append(changes.lines, changes.lines_cut);
}

setInterval(() => job && showTiles(), TICK_MS);
byId("zoom-reset").addEventListener("click", () => zoom(null));
new Compare(jobId, (points) => {
  other = points;
  drawCharts();
});
showBridge();
new Stream(`/api/dev/events/${encodedId}`, { changes: apply }, {
  onState: showConnection,
  onGone: () => {
    byId("missing").hidden = false;
    byId("connection").textContent = "";
  },
});
new Stream(`/api/dev/bridge/events/${encodedId}`, { bridge: applyBridge }, { onState: () => {} });
