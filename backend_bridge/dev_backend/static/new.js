// The page that starts a job: anew, or as another one with changes (`?from=JOB`).

import { byId, element, setText } from "./dom.js";
import { at, byFirst, field, fieldsOf, isFirst, labelOf, put, setValue, valueOf, withLabels } from "./fields.js";
import { count } from "./format.js";
import { SECTIONS } from "./labels.js";
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

function request() {
  let body = copied;
  for (const { path, schema } of fields) {
    try {
      body = put(body, path, valueOf(control(path), schema));
    } catch {
      throw new Error(`${labelOf(path)} is not JSON`);
    }
  }
  const hasData = ["dataset_path", "config.datasets", "config.dataset_path"].some((path) => at(body, path));
  const missing = [...(at(body, "config.model.name") ? [] : ["a model"]), ...(hasData ? [] : ["a data set"])];
  if (missing.length) throw new Error(`Name ${missing.join(" and ")} first`);
  return body;
}

// ------------------------------------------------------------ checking and starting

async function check(body) {
  setText(byId("said"), "Checking the data set…");
  const { ok, status, said } = await send("POST", "/api/dev/start/check", body);
  setText(byId("said"), ok ? "" : withLabels(said.error));
  byId("report").hidden = !ok;
  if (ok) showReport(said);
  return { ok, status, said };
}

function showReport(report) {
  const facts = [["Usable", report.usable ? "yes" : "no"], ["Rows", count(report.rows)], ["Shape", report.shape ?? "–"],
    ...Object.entries(report.splits).map(([name, rows]) => [name, typeof rows === "number" ? count(rows) : JSON.stringify(rows)])];
  byId("report-facts").replaceChildren(...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  const words = [report.error, report.hint, ...(report.warnings ?? [])].filter(Boolean);
  byId("report-words").replaceChildren(...words.map((text) => element("li", {}, `${text}`)));
}

async function start() {
  let body;
  try {
    body = request();
  } catch (error) {
    return setText(byId("said"), error.message);
  }
  if (agreed !== JSON.stringify(body)) {
    const { ok, status, said } = await check(body);
    if (ok ? !said.usable : status !== 404) return; // 404: it is not on this host
    if (ok && said.warnings?.length) {
      agreed = JSON.stringify(body);
      return setText(byId("said"), "Read the warnings, then start all the same.");
    }
  }
  setText(byId("said"), "Starting…");
  const { ok, said } = await send("POST", "/api/dev/start", body);
  if (ok) location.assign(said.page);
  else setText(byId("said"), withLabels(said.error));
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
byId("check").addEventListener("click", () => {
  try {
    check(request());
  } catch (error) {
    setText(byId("said"), error.message);
  }
});
showBridge();
build();
