// Columns of the list: what a cell shows, what the list is sorted by, and what a filter finds.

import { badge, element } from "./dom.js";
import * as format from "./format.js";
import * as state from "./state.js";

const or = (text) => text || format.NONE;
// A path may go on in the next line behind its separators.
const breakable = (text) => or(text).split(/(?<=[/_-])/).flatMap((part) => [part, element("wbr")]);
const lower = (text) => (text || "").toLowerCase();

// value: what rows are sorted by, null last. texts: what a filter looks in; by default the value.
export const COLUMNS = [
  {
    key: "name", label: "Job", className: "name",
    value: (job) => lower(state.title(job)),
    texts: (job) => [job.name, job.job_id, job.model_name],
    show: nameOf,
  },
  {
    key: "status", label: "Status", className: "status",
    value: state.state,
    show: (job, live) => [badge(state.state(job, live)), ...progressOf(job, live)],
  },
  { key: "model", label: "Model", className: "model wide", value: (job) => lower(job.model_name), show: (job) => breakable(job.model_name) },
  { key: "method", label: "Method", className: "method", value: (job) => job.method, show: (job) => [or(job.method)] },
  { key: "data", label: "Data set", className: "data wide", value: (job) => lower(job.dataset_path), show: (job) => breakable(job.dataset_path) },
  {
    key: "lr", label: "Learning rate", className: "number",
    value: (job) => Number(job.learning_rate) || null, texts: (job) => [format.rate(job.learning_rate), `${job.learning_rate}`],
    show: (job) => [format.rate(job.learning_rate)],
  },
  { key: "loss", label: "Train loss", className: "number", value: (job) => job.latest.train_loss, show: (job) => [state.trainLoss(job)] },
  { key: "eval", label: "Eval loss", className: "number", value: (job) => job.latest.eval_loss, show: (job) => [format.loss(job.latest.eval_loss)] },
  {
    key: "started", label: "Started", className: "started muted",
    value: (job) => job.started_at,
    show: (job) => [element("span", { title: format.moment(job.started_at) }, format.ago(job.started_at))],
  },
  { key: "time", label: "Elapsed", className: "elapsed muted", value: state.elapsedSeconds, show: (job, live) => [state.elapsed(job, live)] },
];

export function textsOf(column, job, live) {
  const texts = column.texts ? column.texts(job) : [column.value(job, live)];
  return texts.filter((text) => text != null).map((text) => lower(`${text}`));
}

// What is filtered by, besides.
export const FILTERED = [...COLUMNS, { key: "tag", value: (job) => job.tags.join(" ") }, { key: "note", value: (job) => job.notes }, { key: "sweep", value: (job, live) => live?.group }];

// Smaller first; what is not known comes last, whichever way round.
export function comparison({ value }, falling, liveOf) {
  return (a, b) => {
    const [left, right] = [value(a, liveOf(a)), value(b, liveOf(b))].map((one) => (one === "" ? null : one ?? null));
    if (left === right) return 0;
    if (left === null || right === null) return left === null ? 1 : -1;
    return (left < right ? -1 : 1) * (falling ? -1 : 1);
  };
}

function nameOf(job, live) {
  const link = element("a", { href: `/jobs/${encodeURIComponent(job.job_id)}`, class: "row-link" }, state.title(job));
  const parts = [link];
  if (state.title(job) !== job.job_id) parts.push(element("span", { class: "mono muted small" }, job.job_id));
  if (live?.group) parts.push(element("span", {}, element("a", { href: `/sweeps/${encodeURIComponent(live.group)}`, class: "tag row-inner" }, `sweep ${live.group}`)));
  if (job.tags.length) parts.push(element("span", {}, ...job.tags.map((tag) => element("span", { class: "tag" }, tag))));
  if (job.error) parts.push(element("span", { class: "row-error small" }, job.error));
  return parts;
}

function progressOf(job, live) {
  const { text, share } = state.progress(job, live);
  const parts = text === format.NONE ? [] : [element("span", { class: "small progress-words" }, text)];
  if (share !== null) parts.push(element("progress", { max: 1, value: share, "aria-label": "Share of the steps" }));
  return parts;
}
