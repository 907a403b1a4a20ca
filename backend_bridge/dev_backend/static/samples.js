// What the model says to the job's prompts, step by step.

import { byId, element, setText } from "./dom.js";
import { count } from "./format.js";

export class Samples {
  constructor(jobId) {
    this.path = `/api/training/local/${encodeURIComponent(jobId)}/predictions`;
    this.known = 0;
    this.steps = new Map(); // step → predictions, in order
    byId("samples-step").addEventListener("input", () => this.show());
  }

  // number: how many predictions there are.
  async update(number) {
    if (number === this.known) return;
    this.known = number;
    const answer = await fetch(this.path);
    if (!answer.ok) return;
    const { predictions } = await answer.json();
    const slider = byId("samples-step");
    const atEnd = Number(slider.value) >= this.steps.size - 1;
    this.steps = Map.groupBy(predictions.sort((a, b) => a.step - b.step), ({ step }) => step);
    slider.max = this.steps.size - 1;
    if (atEnd) slider.value = this.steps.size - 1;
    slider.hidden = this.steps.size < 2;
    byId("samples-card").hidden = this.steps.size === 0;
    this.show();
  }

  show() {
    const step = [...this.steps.keys()][Number(byId("samples-step").value)];
    setText(byId("samples-at"), step === undefined ? "" : `Step ${count(step)}`);
    byId("samples").replaceChildren(...(this.steps.get(step) ?? []).map(sample));
  }
}

function sample({ prompt, prediction, ground_truth: expected, exact_match: isRight }) {
  const part = (name, text, className = "") =>
    element("div", { class: className }, element("dt", {}, name), element("dd", {}, text || "(nothing)"));
  return element("dl", { class: "sample" },
    part("Prompt", prompt, "muted"),
    part(isRight ? "Answer, as expected" : "Answer", prediction),
    ...(expected == null || isRight ? [] : [part("Expected", expected, "muted")]));
}
