// Another job's curves behind this one's.

import { byId, element } from "./dom.js";
import { title } from "./format.js";

export class Compare {
  // onPoints: called with the other job's points, sorted by step; none where nothing is chosen.
  constructor(jobId, onPoints) {
    this.jobId = jobId;
    this.onPoints = onPoints;
    this.select = byId("compare");
    this.select.addEventListener("change", () => this.load());
    this.list();
  }

  async list() {
    const { jobs } = await (await fetch("/api/training/local/jobs?limit=200")).json();
    for (const job of jobs.filter(({ job_id }) => job_id !== this.jobId)) {
      const called = title(job);
      const text = called === job.job_id ? called : `${called} · ${job.job_id}`;
      this.select.append(element("option", { value: job.job_id }, text));
    }
    this.select.closest("label").hidden = this.select.options.length < 2;
  }

  async load() {
    const id = this.select.value;
    if (!id) return this.onPoints([]);
    const { metrics } = await (await fetch(`/api/training/local/${encodeURIComponent(id)}/metrics`)).json();
    const points = new Map();
    for (const point of metrics) points.set(point.step, { ...points.get(point.step), ...point });
    if (this.select.value === id) this.onPoints([...points.values()].sort((a, b) => a.step - b.step));
  }
}
