// The page of one job.

import { Charts } from "./charts.js";
import { showCheckpoints } from "./checkpoints.js";
import { Compare } from "./compare.js";
import { Controls } from "./controls.js";
import { badge, byId, element, setText } from "./dom.js";
import * as format from "./format.js";
import { showDifferences } from "./differences.js";
import { showFinished } from "./finished.js";
import { LogView } from "./log.js";
import { Remarks } from "./remarks.js";
import { Run } from "./run.js";
import { Samples } from "./samples.js";
import { showBridge, showConnection } from "./shell.js";
import * as shown from "./state.js";
import { Stream } from "./stream.js";
import { TryIt } from "./try.js";
import { showVerdicts } from "./verdicts.js";

const TICK_MS = 1000;
const encodedId = location.pathname.split("/")[2];
const jobId = decodeURIComponent(encodedId);
const run = new Run(jobId);
const charts = new Charts();
const log = new LogView();
const remarks = new Remarks(jobId);
new TryIt(jobId);
byId("copy").href = `/new?from=${encodedId}`;
const samples = new Samples(jobId);
const controls = new Controls(jobId);
let job = null;
let live; // the bridge's status of the job: undefined until it was asked, null if it does not say
const bridge = { status: null, checkpoints: [], model: null }; // what it last said
let bridgeUrl = "";
let others = []; // runs that are shown beside this one

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
  const step = shown.reached(job, live);
  const steps = job.planned_steps ? ` / ${format.count(job.planned_steps)}` : "";
  const epochs = job.planned_epochs ? ` / ${job.planned_epochs}` : "";
  definitions(byId("tiles"), [
    ["Step", step == null ? format.NONE : format.count(step) + steps],
    ["Epoch", latest.epoch == null ? format.NONE : latest.epoch + epochs],
    ["Train loss", shown.trainLoss(job)],
    ["Eval loss", format.loss(latest.eval_loss)],
    ["Perplexity", format.loss(latest.perplexity)],
    ["Tokens per second", format.count(latest.tokens_per_second)],
    ["Elapsed", shown.elapsed(job, live), `Started ${format.moment(job.started_at)}`],
  ]);
}

function showJob() {
  byId("job").hidden = false;
  setText(byId("title"), shown.title(job));
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
  const state = shown.state(job, live);
  document.title = `${state} · ${shown.title(job)} · Trainyard`;
  if (byId("status").textContent !== state) byId("status").replaceChildren(badge(state));
  byId("error").hidden = !job.error;
  setText(byId("error-text"), job.error ?? "");
  byId("hint").hidden = !live?.error_hint;
  setText(byId("hint"), live?.error_hint ?? "");
  showFinished(job, live, bridge.model, run, bridgeUrl);
  byId("try").hidden = byId("finished").hidden;
  const known = byId("finished").hidden ? live?.warnings ?? [] : []; // its card says them
  byId("warnings").hidden = known.length === 0;
  showVerdicts(byId("warnings-list"), known);
  showTiles();
  const { text, whole, share } = shown.progress(job, live);
  byId("progress-card").hidden = share === null && live?.status !== "queued";
  setText(byId("progress-text"), whole ?? text);
  byId("progress").hidden = share === null;
  byId("progress").value = 100 * (share ?? 0);
  setText(byId("time-left"), live?.slot ? `on ${live.slot}` : "");
}

function applyBridge({ values }) {
  Object.assign(bridge, values);
  const { status, buttons, checkpoints } = bridge;
  live = status;
  if (run.addStart(live)) charts.show([run, ...others]);
  controls.show(status?.status ?? null, buttons);
  showCheckpoints(checkpoints, buttons.includes("resume"), (path) => controls.ask("resume", { checkpoint_path: path }));
  if (job) showState();
}

function apply(changes) {
  job = changes.job;
  run.job = job;
  run.name = shown.title(job);
  run.add(changes.metrics, changes.thinned);
  showJob();
  charts.show([run, ...others]);
  showDifferences([run, ...others]);
  remarks.show(job);
  samples.update(job.predictions);
  log.append(changes.lines, changes.lines_cut);
}

setInterval(() => job && showTiles(), TICK_MS);
new Compare(jobId, (runs) => {
  others = runs;
  charts.show([run, ...others]);
  if (job) showDifferences([run, ...others]);
});
showBridge().then((url) => {
  bridgeUrl = url;
  if (job) showState();
});
new Stream(`/api/dev/events/${encodedId}`, { changes: apply }, {
  onState: showConnection,
  onGone: () => {
    byId("missing").hidden = false;
    byId("connection").textContent = "";
  },
});
new Stream(`/api/dev/bridge/events/${encodedId}`, { bridge: applyBridge }, { onState: () => {} });
