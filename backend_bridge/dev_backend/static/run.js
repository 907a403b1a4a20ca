// A run as the charts know it: one job's points by step, and where each lies on the x axes.

import { count, span, tick } from "./format.js";

// incrs: distances of ticks, if those of decimal numbers are not wanted.
const WHOLE = [1, 2, 5].flatMap((digit) => [...Array(15).keys()].map((power) => digit * 10 ** power)).sort((a, b) => a - b);
const TRAINED = ["train_loss", "train_perplexity", "learning_rate", "grad_norm", "samples_per_second", "tokens_per_second"];
const MINUTE = 60, HOUR = 3600, DAY = 86400;
export const AXES = {
  step: { label: "Step", format: count, incrs: WHOLE },
  epoch: { label: "Epoch", format: (value) => tick(Math.round(value * 100) / 100) },
  tokens: { label: "Tokens", format: count, incrs: WHOLE },
  time: {
    label: "Time", format: span,
    incrs: [1, 2, 5, 10, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 6 * HOUR, DAY, 2 * DAY, 7 * DAY],
  },
};

const POINTS_MAX = 2000; // that charts are drawn from, as the server sends them

export class Run {
  constructor(id) {
    this.id = id;
    this.name = id;
    this.job = null;
    this.byStep = new Map();
    this.points = []; // sorted by step
    this.last = {}; // the newest, as it came
    this.isThin = false; // whether it has but some of the job's points
  }

  // A step that was trained again replaces the first try. thinned: these are but some of the points.
  add(points, thinned = false) {
    this.isThin ||= thinned;
    this.merge(points);
    if (this.points.length > POINTS_MAX) this.thin();
  }

  merge(points) {
    if (!points.length) return;
    for (const point of points) {
      this.byStep.set(point.step, { ...this.byStep.get(point.step), ...this.own(point) });
      this.last = point;
    }
    this.sort();
  }

  // The first point of each stretch of steps, of evals and of others; with the best eval and the newest.
  thin() {
    const [first, last] = [this.points[0], this.points.at(-1)];
    const stretches = POINTS_MAX / 2 - 1;
    const kept = new Set([this.best(), last]);
    const begun = new Set();
    for (const p of this.points) {
      const stretch = Math.floor(((p.step - first.step) / (last.step - first.step + 1)) * stretches);
      const name = `${p.eval_loss == null} ${stretch}`;
      if (!begun.has(name)) kept.add(p);
      begun.add(name);
    }
    this.points = this.points.filter((p) => kept.has(p));
    this.byStep = new Map(this.points.map((p) => [p.step, p]));
    this.isThin = true;
  }

  // All points of the job, from its server.
  async whole() {
    const { points } = await (await fetch(`/api/dev/points/${encodeURIComponent(this.id)}?whole=true`)).json();
    const run = new Run(this.id);
    run.merge([...(this.byStep.has(0) ? [this.byStep.get(0)] : []), ...points]);
    return run.points;
  }

  // A point without what an eval's carries of the last step that was logged.
  own(point) {
    if (point.eval_loss == null || !TRAINED.every((name) => point[name] === this.last[name])) return point;
    return Object.fromEntries(Object.entries(point).filter(([name]) => !TRAINED.includes(name)));
  }

  // The eval before the first step, which no backend is told as a point. live: the bridge's status.
  addStart(live) {
    if (live?.start_eval_loss == null || this.byStep.has(0)) return false;
    this.byStep.set(0, { step: 0, epoch: 0, eval_loss: live.start_eval_loss, at: live.started_at });
    this.sort();
    return true;
  }

  sort() {
    this.points = [...this.byStep.values()].sort((a, b) => a.step - b.step);
  }

  // Of each point its place on an axis, never falling; null if that axis is not known.
  places(axis) {
    const found = PLACES[axis](this.points, this.job);
    if (!found) return null;
    let last = -Infinity;
    return found.map((value) => (last = Math.max(last, value ?? last)));
  }

  // The first point whose loss is no finite number, which no report can hold.
  lost() {
    const trained = this.points.filter((p) => p.learning_rate != null || p.train_loss != null);
    return trained[trained.findLastIndex((p) => p.train_loss != null) + 1] ?? null;
  }

  best() {
    const evals = this.points.filter((p) => p.eval_loss != null);
    return evals.length > 1 ? evals.reduce((a, b) => (b.eval_loss < a.eval_loss ? b : a)) : null;
  }
}

const PLACES = {
  step: (points) => points.map((p) => p.step),
  epoch: epochs,
  tokens,
  time: (points) => points.map((p) => (Date.parse(p.at) - Date.parse(points[0].at)) / 1000),
};

// Backends hear whole epochs: the share of one is counted in steps.
function epochs(points, job) {
  const last = points.at(-1);
  if (!last) return null;
  if (points.some((p) => !Number.isInteger(p.epoch))) return points.map((p) => p.epoch);
  const begun = points.find((p) => p.epoch === last.epoch);
  const planned = job?.planned_steps && job.planned_epochs ? job.planned_steps / job.planned_epochs : null;
  const steps = last.epoch > 0 ? begun.step / last.epoch : planned;
  return steps ? points.map((p) => p.step / steps) : null;
}

// Rates are means since the attempt's start: tokens of a sample, times samples of a step.
function tokens(points) {
  const rated = points.filter((p) => p.tokens_per_second && p.samples_per_second);
  const batches = rated.slice(1).map((p, i) => {
    const before = rated[i];
    const seconds = (Date.parse(p.at) - Date.parse(before.at)) / 1000;
    return (p.samples_per_second * seconds) / (p.step - before.step);
  }).sort((a, b) => a - b);
  const batch = Math.round(batches[Math.floor(batches.length / 2)]);
  if (!(batch > 0)) return null;
  let each = rated[0].tokens_per_second / rated[0].samples_per_second;
  return points.map((p) => {
    if (p.tokens_per_second && p.samples_per_second) each = p.tokens_per_second / p.samples_per_second;
    return Math.round(each * batch * p.step);
  });
}
