// The page that starts a job: anew, or as another one with changes (`?from=JOB`).

import { byId, element, setText } from "./dom.js";
import { at, byFirst, field, fieldsOf, isFirst, labelOf, put, setValue, valueOf } from "./fields.js";
import { count } from "./format.js";
import { SECTIONS } from "./labels.js";
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
  const sections = Map.groupBy(fields.filter((one) => !isFirst(one)), ({ path }) => sectionName(path.split(".").slice(0, -1).join(".")));
  for (const [name, inside] of sections) {
    byId("more").append(element("details", { class: "card group" }, element("summary", {}, name),
      element("div", { class: "fields" }, ...inside.map(field))));
  }
  const from = new URLSearchParams(location.search).get("from");
  if (from) await copy(from);
}

function sectionName(path) {
  if (path in SECTIONS) return SECTIONS[path];
  const name = path.replace(/^config\.?/, "").replaceAll(".", " · ");
  return name.replace(/^./, (first) => first.toUpperCase());
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
  for (const { path, schema } of fields) {
    try {
      body = put(body, path, valueOf(control(path), schema));
    } catch {
      throw new Refusal(`${labelOf(path)} is not JSON`, { [path]: "should be JSON" });
    }
  }
  const hasData = ["dataset_path", "config.datasets", "config.dataset_path"].some((path) => at(body, path));
  const wanted = [["config.model.name", "a model", at(body, "config.model.name")], ["dataset_path", "a data set", hasData]];
  const missing = wanted.filter(([, , given]) => !given);
  if (missing.length) {
    const wrong = missing.map(([path, what]) => [path, `Name ${what}`]);
    throw new Refusal(`Name ${missing.map(([, what]) => what).join(" and ")} first`, Object.fromEntries(wrong));
  }
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
  const facts = [["Usable", report.usable ? "yes" : "no"], ["Rows", count(report.rows)], ["Shape", report.shape ?? "–"],
    ...Object.entries(report.splits).map(([name, rows]) => [name, typeof rows === "number" ? count(rows) : JSON.stringify(rows)])];
  byId("report-facts").replaceChildren(...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  const words = [report.error, report.hint, ...(report.warnings ?? []).map((text) => `Warning: ${text}`)].filter(Boolean);
  byId("report-words").replaceChildren(...words.map((text) => element("li", {}, text)));
  byId("report").hidden = false;
  goTo(byId("report"), "start");
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
