// Other jobs' curves beside this one's: as many as wanted, named in the page's address.

import { byId, element } from "./dom.js";
import { Run } from "./run.js";
import { title } from "./state.js";

export class Compare {
  // onChange: called with the runs that are shown beside this one's.
  constructor(jobId, onChange) {
    this.jobId = jobId;
    this.onChange = onChange;
    this.runs = [];
    this.select = byId("compare");
    this.select.addEventListener("change", () => this.add(this.select.value));
    this.list();
  }

  async list() {
    const { jobs } = await (await fetch("/api/training/local/jobs?limit=500")).json();
    for (const job of jobs.filter(({ job_id: id }) => id !== this.jobId)) {
      const called = title(job);
      const text = called === job.job_id ? called : `${called} · ${job.job_id}`;
      this.select.append(element("option", { value: job.job_id }, text));
    }
    this.select.closest("label").hidden = this.select.options.length < 2;
    for (const id of new URLSearchParams(location.search).getAll("with")) await this.add(id);
  }

  async add(id) {
    this.select.value = "";
    if (!id || id === this.jobId || this.runs.some((run) => run.id === id)) return;
    const [answer, live] = await Promise.all([`points/${encodeURIComponent(id)}`, `bridge/jobs/${encodeURIComponent(id)}`]
      .map((path) => fetch(`/api/dev/${path}`)));
    if (!answer.ok) return;
    const { job, points, thinned } = await answer.json();
    const run = new Run(id);
    run.job = job;
    run.name = title(job);
    run.add(points, thinned);
    run.addStart((await live.json()).status);
    this.change([...this.runs, run]);
  }

  change(runs) {
    this.runs = runs;
    const query = new URLSearchParams(runs.map(({ id }) => ["with", id]));
    history.replaceState(null, "", `${location.pathname}${runs.length ? `?${query}` : ""}`);
    for (const option of this.select.options) option.disabled = runs.some(({ id }) => id === option.value);
    byId("compared").replaceChildren(...runs.map((run, index) => this.chip(run, index)));
    this.onChange(runs);
  }

  chip(run, index) {
    const remove = element("button", { type: "button", class: "chip", title: "Show no more", "data-run": run.id },
      element("span", { class: `key series-${(index + 1) % 8}` }), run.name, element("span", { "aria-hidden": "true" }, "×"));
    remove.setAttribute("aria-label", `${run.name}: show no more`);
    remove.addEventListener("click", () => this.change(this.runs.filter((one) => one !== run)));
    return remove;
  }
}
