// The page of all jobs.

import { COLUMNS, comparison } from "./columns.js";
import { byId, element, setText } from "./dom.js";
import { matcher } from "./filter.js";
import { showBridge, showConnection } from "./shell.js";
import { state } from "./state.js";
import { Stream } from "./stream.js";

const TICK_MS = 1000;
const jobs = new Map(); // job id → job
const rows = new Map(); // job id → its row
const live = new Map(); // job id → what the bridge knows of it
const asked = new URLSearchParams(location.search); // how the list is filtered and sorted
let isTold = false; // whether the bridge was heard
const liveOf = (job) => live.get(job.job_id) ?? (isTold ? null : undefined);

// ------------------------------------------------------------ rows

function cells(job) {
  return COLUMNS.map(({ label, className = "", show }) =>
    element("td", { role: "cell", class: className, "data-label": label }, ...show(job, liveOf(job))));
}

// Only what changed is replaced: a click needs the same element under the pointer throughout.
function put(job) {
  jobs.set(job.job_id, job);
  const old = rows.get(job.job_id);
  if (!old) {
    rows.set(job.job_id, element("tr", { role: "row" }, ...cells(job)));
    return;
  }
  cells(job).forEach((cell, index) => {
    if (!cell.isEqualNode(old.children[index])) old.children[index].replaceWith(cell);
  });
}

function drop(id) {
  rows.get(id)?.remove();
  rows.delete(id);
  jobs.delete(id);
}

// ------------------------------------------------------------ order, filter, counts

function arranged() {
  const newest = [...jobs.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  const column = COLUMNS.find(({ key }) => key === asked.get("sort"));
  return column ? newest.sort(comparison(column, asked.has("falling"), liveOf)) : newest;
}

function arrange() {
  const wanted = matcher(asked.get("q") ?? "");
  const body = byId("jobs");
  const counts = new Map();
  let shown = 0;
  arranged().forEach((job, index) => {
    const row = rows.get(job.job_id);
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
    const hit = wanted(job, liveOf(job));
    const its = state(job, liveOf(job));
    if (hit) counts.set(its, (counts.get(its) ?? 0) + 1);
    row.hidden = !hit || (asked.has("status") && asked.get("status") !== its);
    shown += !row.hidden;
  });
  showCounts(counts);
  byId("tools").hidden = jobs.size === 0;
  byId("table").hidden = shown === 0;
  byId("first").hidden = jobs.size > 0;
  byId("none").hidden = shown > 0 || jobs.size === 0;
}

// A button for each state; pressed, it shows those jobs only.
function showCounts(counts) {
  const chosen = asked.get("status");
  if (chosen && !counts.has(chosen)) counts.set(chosen, 0);
  const box = byId("counts");
  const all = [...counts.values()].reduce((a, b) => a + b, 0);
  const wanted = [["", "All", all], ...[...counts].sort().map(([its, number]) => [its, its, number])];
  if (box.childElementCount !== wanted.length) box.replaceChildren(...wanted.map(chip));
  wanted.forEach(([its, label, number], index) => {
    const node = box.children[index];
    node.dataset.status = its;
    node.setAttribute("aria-pressed", its === (chosen ?? ""));
    setText(node.firstChild, label);
    setText(node.lastChild, `${number}`);
  });
}

function chip() {
  const node = element("button", { type: "button", class: "chip" }, element("span"), element("b"));
  node.addEventListener("click", () => ask("status", node.dataset.status));
  return node;
}

// In the address, so that it outlives a reload and can be sent to others.
function ask(name, value) {
  if (value) asked.set(name, value);
  else asked.delete(name);
  history.replaceState(null, "", `${location.pathname}${asked.size ? `?${asked}` : ""}`);
  arrange();
}

// ------------------------------------------------------------ sorting

// Rising, falling, newest first again.
function sortBy(key) {
  const again = asked.get("sort") === key;
  const falling = again && !asked.has("falling");
  asked.delete("falling");
  if (falling) asked.set("falling", "1");
  ask("sort", again && !falling ? "" : key);
  showSorting();
}

function showSorting() {
  for (const head of byId("heads").children) {
    const mine = head.dataset.key === asked.get("sort");
    const way = asked.has("falling") ? "descending" : "ascending";
    head.setAttribute("aria-sort", mine ? way : "none");
  }
  byId("sort").value = asked.get("sort") ?? "";
}

function heads() {
  for (const { key, label, className = "" } of COLUMNS) {
    const button = element("button", { type: "button", class: "sort" }, label);
    button.addEventListener("click", () => sortBy(key));
        byId("heads").append(element("th", { role: "columnheader", scope: "col", class: className, "data-key": key }, button));
    byId("sort").append(element("option", { value: key }, label));
  }
  byId("sort").addEventListener("change", (event) => {
    asked.delete("falling");
    ask("sort", event.target.value);
    showSorting();
  });
  showSorting();
}

// ------------------------------------------------------------ what comes in

function replaceAll(data) {
  for (const id of [...jobs.keys()]) drop(id);
  data.jobs.forEach(put);
  arrange();
}

function learn({ is_whole: isWhole, values }) {
  isTold = true;
  if (isWhole) live.clear();
  for (const [id, value] of Object.entries(values)) {
    if (value) live.set(id, value);
    else live.delete(id);
  }
  for (const job of jobs.values()) if (isWhole || job.job_id in values) put(job);
  arrange();
}

heads();
byId("filter").value = asked.get("q") ?? "";
byId("filter").addEventListener("input", (event) => ask("q", event.target.value.trim()));
setInterval(() => jobs.forEach(put), TICK_MS);
showBridge();
new Stream(
  "/api/dev/events",
  {
    jobs: replaceAll,
    job: (job) => { put(job); arrange(); },
    gone: ({ job_id: id }) => { drop(id); arrange(); },
  },
  { onState: showConnection },
);
new Stream("/api/dev/bridge/events", { live: learn }, { onState: () => {} });
