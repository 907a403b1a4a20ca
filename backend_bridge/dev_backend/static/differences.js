// Settings in which jobs differ: a row each, a column for each job.

import { byId, element } from "./dom.js";
import { NONE } from "./format.js";

export function showDifferences(runs) {
  const rows = runs.length > 1 ? differing(runs.map(({ job }) => ({ data_set: job.dataset_path, ...job.config }))) : [];
  byId("differences-card").hidden = runs.length < 2;
  byId("differences-none").hidden = rows.length > 0;
  byId("differences-heads").replaceChildren(
    element("th", { scope: "col" }, "Setting"), ...runs.map(({ name }) => element("th", { scope: "col" }, name)));
  byId("differences").replaceChildren(...rows.map(([path, values]) =>
    element("tr", {}, element("th", { scope: "row", class: "mono" }, path), ...values.map((value) => element("td", {}, value)))));
}

// [path, value of each] for what is not the same in all.
function differing(configs) {
  const flat = configs.map((config) => new Map(leaves(config)));
  const paths = [...new Set(flat.flatMap((one) => [...one.keys()]))];
  return paths.map((path) => [path, flat.map((one) => one.get(path) ?? NONE)]).filter(([, values]) => new Set(values).size > 1);
}

function leaves(value, path = "") {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [[path, JSON.stringify(value)]];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, path ? `${path}.${key}` : key));
}
