// The page of all jobs.

import { badge, byId, element, setText } from "./dom.js";
import * as format from "./format.js";
import { showBridge, showConnection } from "./shell.js";
import { Stream } from "./stream.js";

const TICK_MS = 1000;
const FIRST_JOB = "No jobs yet. Start one with `trainyard submit --model NAME --dataset FILE`; it shows up here by itself.";
const jobs = new Map(); // job id → job, newest first
const rows = new Map(); // job id → its row
const filter = byId("filter");
let active = {}; // job id → what the bridge says of it

function cell(label, className, ...children) {
  return element("td", { role: "cell", class: className, "data-label": label }, ...children);
}

function progressCell(job) {
  const { text, share } = format.progress(job, active[job.job_id]);
  const node = cell("Progress", "progress", element("span", {}, text));
  if (share !== null) {
    node.append(element("progress", { max: 1, value: share, "aria-label": "Share of the steps" }));
  }
  return node;
}

function nameCell(job) {
  const link = element(
    "a",
    { href: `/jobs/${encodeURIComponent(job.job_id)}`, class: "row-link" },
    format.title(job),
  );
  const node = cell("Job", "name", link, element("span", { class: "mono muted small" }, job.job_id));
  const about = [job.name && job.model_name, job.dataset_path].filter(Boolean).join(" · ");
  if (about) node.append(element("span", { class: "muted small" }, about));
  if (job.error) node.append(element("span", { class: "row-error small" }, job.error));
  return node;
}

function timeCell(label, className) {
  return cell(label, className, element("span"));
}

function row(job) {
  const node = element(
    "tr",
    { role: "row" },
    nameCell(job),
    cell("Status", "status", badge(format.state(job, active[job.job_id]))),
    progressCell(job),
    cell("Train loss", "number", format.loss(job.latest.train_loss)),
    cell("Eval loss", "number", format.loss(job.latest.eval_loss)),
    timeCell("Started", "started muted"),
    timeCell("Elapsed", "elapsed muted"),
  );
  tick(job, node);
  return node;
}

function tick(job, node) {
  const started = node.querySelector(".started > span");
  setText(started, format.ago(job.started_at));
  started.title = format.moment(job.started_at);
  setText(node.querySelector(".elapsed > span"), format.elapsed(job, active[job.job_id]));
}

// Only what changed is replaced: a click needs the same element under the pointer throughout.
function put(job) {
  const fresh = row(job);
  const old = rows.get(job.job_id);
  if (old) {
    [...fresh.children].forEach((cell, index) => {
      if (!cell.isEqualNode(old.children[index])) old.children[index].replaceWith(cell);
    });
  } else {
    byId("jobs").prepend(fresh);
    rows.set(job.job_id, fresh);
  }
  jobs.set(job.job_id, job);
}

function drop({ job_id: id }) {
  rows.get(id)?.remove();
  rows.delete(id);
  jobs.delete(id);
  summarise();
}

function summarise() {
  const wanted = filter.value.trim().toLowerCase();
  const counts = new Map();
  let shown = 0;
  for (const [id, job] of jobs) {
    const state = format.state(job, active[id]);
    const texts = [job.name, job.model_name, job.dataset_path, job.user_id, id, state];
    const hit = texts.some((text) => text?.toLowerCase().includes(wanted));
    rows.get(id).hidden = !hit;
    shown += hit;
    counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  const parts = [...counts].map(([status, number]) => `${number} ${status}`);
  setText(byId("counts"), parts.join(" · ") || "\u00a0");
  byId("table").hidden = shown === 0;
  const empty = byId("empty");
  empty.hidden = shown > 0;
  setText(empty, jobs.size ? "No job matches the filter." : FIRST_JOB);
}

function replaceAll(data) {
  jobs.clear();
  rows.clear();
  byId("jobs").replaceChildren();
  for (const job of data.jobs.reverse()) put(job);
  summarise();
}

function showActive(now) {
  const changed = new Set([...Object.keys(active), ...Object.keys(now)]);
  active = now;
  for (const id of changed) if (jobs.has(id)) put(jobs.get(id));
  summarise();
}

filter.addEventListener("input", summarise);
setInterval(() => jobs.forEach((job, id) => tick(job, rows.get(id))), TICK_MS);
showBridge();
new Stream(
  "/api/dev/events",
  { jobs: replaceAll, job: (job) => { put(job); summarise(); }, gone: drop },
  { onState: showConnection },
);
new Stream("/api/dev/bridge/events", { active: showActive }, { onState: () => {} });
