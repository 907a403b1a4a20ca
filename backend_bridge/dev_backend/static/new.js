// The page that starts a job: anew, or as another one with changes (`?from=JOB`).

import { byId, element, setText } from "./dom.js";
import { at, byFirst, field, fieldsOf, isFirst, labelOf, put, sectionOf, setValue, valueOf, withLabels } from "./fields.js";
import { count } from "./format.js";
import { clearRefusal, edited, goTo, Refusal, showRefusal } from "./refusal.js";
import { send } from "./send.js";
import { showBridge } from "./shell.js";
import { title } from "./state.js";

const REDACTED = "[redacted]";
let fields = [];
let copied = {}; // the request that this one is made from
let agreed = ""; // the request whose warnings were seen

async function build() {
  fields = fieldsOf(await (await fetch("/api/dev/start/schema")).json());
  byId("first").append(...fields.filter(isFirst).sort(byFirst).map(field));
  const sections = Map.groupBy(fields.filter((one) => !isFirst(one)), ({ path }) => sectionOf(path));
  for (const [name, inside] of sections) {
    byId("more").append(element("details", { class: "card group" }, element("summary", {}, name),
      element("div", { class: "fields" }, ...inside.map(field))));
  }
  const from = new URLSearchParams(location.search).get("from");
  if (from) await copy(from);
}

async function copy(id) {
  const answer = await fetch(`/api/training/local/${encodeURIComponent(id)}/status`);
  if (!answer.ok) return;
  const job = await answer.json();
  copied = { config: clean(job.config), dataset_path: job.config?.datasets ? undefined : job.dataset_path };
  for (const { path } of fields) setValue(control(path), at(copied, path));
  setValue(control("name"), job.name ? `${job.name}, again` : "");
  byId("copied").hidden = false;
  setText(byId("copied"), `As ${title(job)}, with your changes.`);
}

// Without what the backend keeps no more.
function clean(value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([, inner]) => inner !== REDACTED).map(([key, inner]) => [key, clean(inner)]));
}

const control = (path) => byId("form").elements.namedItem(path);

// Raises Refusal.
function request() {
  let body = copied;
  const noJson = [];
  for (const { path, schema } of fields) {
    try {
      body = put(body, path, valueOf(control(path), schema));
    } catch {
      noJson.push(path);
    }
  }
  const hasData = ["dataset_path", "config.datasets", "config.dataset_path"].some((path) => at(body, path) || noJson.includes(path));
  const wanted = [["config.model.name", "a model", at(body, "config.model.name")], ["dataset_path", "a data set", hasData]];
  const missing = wanted.filter(([, , given]) => !given);
  const said = noJson.map((path) => `${labelOf(path)} is not JSON`);
  if (missing.length) said.push(`Name ${missing.map(([, what]) => what).join(" and ")} first`);
  const wrong = [...noJson.map((path) => [path, "should be JSON"]), ...missing.map(([path, what]) => [path, `Name ${what}`])];
  if (said.length) throw new Refusal(said.join("; "), Object.fromEntries(wrong));
  return body;
}

// ------------------------------------------------------------ checking and starting

// The report on the data set, null if it is not on this host and the job may start all the same. Raises Refusal.
async function check(body, mayLieElsewhere) {
  setText(byId("said"), "Checking the data set…");
  const { ok, status, said } = await send("POST", "/api/dev/start/check", body);
  setText(byId("said"), "");
  if (!ok && mayLieElsewhere && status === 404) return null;
  if (!ok) throw new Refusal(said.error);
  showReport(said);
  return said;
}

function showReport(report) {
  const facts = [["Usable", report.usable ? "yes" : "no"], ["Rows", count(report.rows)],
    ...(report.problem_count ? [["Of these can be used", count(report.rows - report.problem_count)]] : []), ["Shape", report.shape ?? "–"],
    ...Object.entries(report.splits).map(([name, rows]) => [name, typeof rows === "number" ? count(rows) : JSON.stringify(rows)])];
  byId("report-facts").replaceChildren(...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  const words = [report.error, report.hint, ...(report.warnings ?? []).map((text) => `Warning: ${text}`)].filter(Boolean);
  byId("report-words").replaceChildren(...[...words, ...badRows(report)].map((text) => element("li", {}, withLabels(text))));
  byId("report").hidden = false;
  goTo(byId("report"), "start");
}

// The first that cannot be used, of the set that evaluates too.
function badRows({ problem_count: found = 0, problems = [], eval_set: evaluates }) {
  const said = problems.map(({ file, line, row, reason, fix }) => `${line === null ? `Row ${row}` : `Line ${line}`} of ${file}: ${reason}. ${fix}`);
  if (found > said.length) said.push(`${count(found - said.length)} more rows cannot be used`);
  return evaluates ? [...said, ...badRows(evaluates)] : said;
}

async function start(body) {
  if (agreed !== JSON.stringify(body)) {
    const report = await check(body, true);
    if (report && !report.usable) return setText(byId("said"), "Not started: the data set cannot be used.");
    if (report?.warnings?.length) {
      agreed = JSON.stringify(body);
      return setText(byId("said"), "Read the warnings, then start all the same.");
    }
  }
  setText(byId("said"), "Starting…");
  const { ok, said } = await send("POST", "/api/dev/start", body);
  if (!ok) throw new Refusal(said.error);
  location.assign(said.page);
}

// What a button asks, done with the request; a refusal is shown.
async function press(action) {
  clearRefusal(byId("form"));
  byId("report").hidden = true;
  try {
    await action(request());
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    showRefusal(byId("form"), error);
  }
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  press(start);
});
byId("check").addEventListener("click", () => press(check));
byId("form").addEventListener("input", ({ target }) => edited(byId("form"), target));
showBridge();
build();
