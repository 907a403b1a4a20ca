// The table of a job's checkpoints, newest first; a paused job resumes from any of them.

import { byId, element } from "./dom.js";
import * as format from "./format.js";

let shown = "";

export function showCheckpoints(checkpoints, paused, resume) {
  const now = JSON.stringify([checkpoints, paused]);
  if (now === shown) return; // the same elements stay under the pointer
  shown = now;
  byId("checkpoints-card").hidden = checkpoints.length === 0;
  byId("checkpoints").replaceChildren(...[...checkpoints].reverse().map((one) => row(one, paused, resume)));
}

function row(one, paused, resume) {
  const marks = [one.is_best && "best kept", one.is_latest && "latest"].filter(Boolean);
  const from = element("button", { type: "button" }, "Resume from here");
  from.hidden = !paused;
  from.addEventListener("click", () => resume(one.path));
  return element(
    "tr",
    {},
    element("td", {}, format.count(one.step), ...marks.map((mark) => element("span", { class: "mark-chip" }, mark))),
    element("td", { class: "number" }, format.loss(one.train_loss)),
    element("td", { class: "number" }, format.loss(one.eval_loss)),
    element("td", { class: "number" }, format.bytes(one.size_bytes)),
    element("td", { title: format.moment(one.created_at) }, format.ago(one.created_at)),
    element("td", { class: "number" }, from),
  );
}
