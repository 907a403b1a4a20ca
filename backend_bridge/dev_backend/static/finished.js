// The ending of a job, which is what one waited for: the losses, what was saved, where it lies, what next.

import { byId, element } from "./dom.js";
import * as format from "./format.js";
import { copyable } from "./copy.js";
import { showVerdicts } from "./verdicts.js";

let shown = "";

// model: {path, size_bytes, merged_bytes, is_adapter}, null if it lies on another host.
export function showFinished(job, live, model, run, bridgeUrl) {
  const result = live?.status === "completed" ? live.result : null;
  const best = run.best();
  const now = JSON.stringify([result, live?.usage, live?.warnings, model, best, bridgeUrl]);
  if (now === shown) return; // the same elements stay under the pointer
  shown = now;
  byId("finished").hidden = !result;
  if (!result) return;
  byId("finished-figures").replaceChildren(...[...figures(result, model, best), ...used(live.usage)].map(([name, value, about]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value, ...(about ? [element("small", {}, about)] : [])))));
  showVerdicts(byId("finished-verdicts"), live.warnings);
  byId("finished-next").replaceChildren(...next(job, model, bridgeUrl).map(([name, text]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, copyable(text)))));
}

function figures(result, model, best) {
  const { first_eval_loss: before, last_eval_loss: after, train_loss: train, saved_step: saved } = result;
  const losses = after == null
    ? [["Train loss at the end", format.loss(train)]]
    : [...(before == null ? [] : [["Eval loss before", format.loss(before)]]), ["Eval loss after", format.loss(after), change(before, after)]];
  return [
    ...losses,
    ...(best ? [["Best eval loss", format.loss(best.eval_loss), `step ${format.count(best.step)}`]] : []),
    ...(saved == null ? [] : [["Saved", `Step ${format.count(saved)}`, best && best.step === saved ? "the best" : ""]]),
    ...(model ? [["Size", format.bytes(model.size_bytes), parts(model)]] : []),
  ];
}

function parts({ is_adapter: isAdapter, merged_bytes: merged }) {
  return [isAdapter && "adapter", merged && `merged ${format.bytes(merged)}`].filter(Boolean).join(", ");
}

// What a GPU was used for; of a CPU the elapsed time says it.
function used(usage) {
  if (!usage?.gpu_hours) return [];
  const { gpu_hours: hours, energy_kwh: energy, cost, currency } = usage;
  const money = cost == null ? [] : [["Cost", `${cost.toFixed(2)} ${currency ?? ""}`.trim()]];
  return [["GPU hours", hours.toFixed(2), energy == null ? "" : `${energy.toFixed(3)} kWh`], ...money];
}

function change(before, after) {
  if (!before) return "";
  const share = (after - before) / before;
  return `${share > 0 ? "+" : "−"}${Math.abs(100 * share).toFixed(0)}%`;
}

function next(job, model, bridgeUrl) {
  const rows = [["Try it", `trainyard generate ${job.job_id} --prompt '...'`]];
  if (model) rows.unshift(["Model", model.path]);
  if (bridgeUrl) rows.push(["Download", `curl -OJ ${bridgeUrl}/api/training/${encodeURIComponent(job.job_id)}/download/model`]);
  return rows;
}
