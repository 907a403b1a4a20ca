// The page of a sweep: the settings of its jobs beside the best eval of each.

import { Controls } from "./controls.js";
import { badge, byId, element, setText } from "./dom.js";
import * as format from "./format.js";
import { showBridge, showConnection } from "./shell.js";
import { Stream } from "./stream.js";

const encoded = location.pathname.split("/")[2];
const controls = new Controls(decodeURIComponent(encoded), "Cancel all jobs of this sweep that have not ended?");
const MEASURES = { best_eval_loss: "Best eval loss", loss: "Train loss" };
let sweep = {}; // what the bridge last said

function columns() {
  return [
    { label: "Job", className: "name", show: nameOf },
    ...sweep.settings.map((path) => ({ label: path, className: "setting", show: (job) => [text(job.settings[path])] })),
    { label: MEASURES[sweep.measure], className: "number", show: measureOf },
    { label: "Status", className: "status", show: (job) => [badge(job.status)] },
  ];
}

const text = (value) => (typeof value === "string" ? value : JSON.stringify(value ?? null));

function nameOf(job) {
  const link = element("a", { href: `/jobs/${encodeURIComponent(job.job_id)}`, class: "row-link" }, job.job_id);
  return job.error ? [link, element("span", { class: "row-error small" }, job.error)] : [link];
}

function measureOf(job) {
  const value = format.loss(job[sweep.measure]);
  return job.job_id === sweep.best ? [element("b", {}, value), " ", element("span", { class: "tag" }, "best")] : [value];
}

function show() {
  const known = Boolean(sweep.jobs);
  byId("missing").hidden = known;
  byId("table").hidden = !known;
  controls.show(known ? sweep.status : null, sweep.buttons ?? []);
  byId("status").replaceChildren(...(known ? [badge(sweep.status)] : []));
  if (!known) return;
  const shown = columns();
  byId("heads").replaceChildren(...shown.map(({ label, className }) =>
    element("th", { role: "columnheader", scope: "col", class: `${className} muted small` }, label)));
  byId("jobs").replaceChildren(...sweep.jobs.map((job) => element("tr", { role: "row" }, ...shown.map((column) =>
    element("td", { role: "cell", class: column.className, "data-label": column.label }, ...column.show(job))))));
}

function learn({ is_whole: isWhole, values }) {
  sweep = isWhole ? values : { ...sweep, ...values };
  show();
}

setText(byId("title"), decodeURIComponent(encoded));
document.title = `${decodeURIComponent(encoded)} · Trainyard`;
showBridge();
new Stream(`/api/dev/bridge/groups/${encoded}`, { group: learn }, { onState: showConnection });
