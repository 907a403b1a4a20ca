// The page of all jobs.

import { badge, byId, element, setText } from "./dom.js";
import * as format from "./format.js";
import { showBridge, showConnection } from "./shell.js";
import { Stream } from "./stream.js";

const TICK_MS = 1000;
const jobs = new Map(); // job id → job, newest first
const rows = new Map(); // job id → its row
const filter = byId("filter");

function cell(label, className, ...children) {
  return element("td", { role: "cell", class: className, "data-label": label }, ...children);
}

function progressCell(job) {
  const { text, share } = format.progress(job);
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
    job.model_name || job.job_id,
  );
  const node = cell("Job", "name", link, element("span", { class: "mono muted small" }, job.job_id));
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
    cell("Status", "status", badge(job.status)),
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
  setText(node.querySelector(".elapsed > span"), format.elapsed(job));
}

function put(job) {
  const fresh = row(job);
  const old = rows.get(job.job_id);
  if (old) {
    const focused = old.contains(document.activeElement);
    old.replaceWith(fresh);
    if (focused) fresh.querySelector("a").focus();
  } else {
    byId("jobs").prepend(fresh);
  }
  jobs.set(job.job_id, job);
  rows.set(job.job_id, fresh);
}

function summarise() {
  const wanted = filter.value.trim().toLowerCase();
  const counts = new Map();
  let shown = 0;
  for (const [id, job] of jobs) {
    const hit = `${job.model_name} ${id} ${job.status}`.toLowerCase().includes(wanted);
    rows.get(id).hidden = !hit;
    shown += hit;
    counts.set(job.status, (counts.get(job.status) ?? 0) + 1);
  }
  const parts = [...counts].map(([status, number]) => `${number} ${status}`);
  setText(byId("counts"), parts.join(" · ") || "\u00a0");
  byId("table").hidden = shown === 0;
  const empty = byId("empty");
  empty.hidden = shown > 0;
  setText(empty, jobs.size ? "No job matches the filter." : "No jobs yet. The first one shows up here by itself.");
}

function replaceAll(data) {
  jobs.clear();
  rows.clear();
  byId("jobs").replaceChildren();
  for (const job of data.jobs.reverse()) put(job);
  summarise();
}

filter.addEventListener("input", summarise);
setInterval(() => jobs.forEach((job, id) => tick(job, rows.get(id))), TICK_MS);
showBridge();
new Stream(
  "/api/dev/events",
  { jobs: replaceAll, job: (job) => { put(job); summarise(); } },
  { onState: showConnection },
);
