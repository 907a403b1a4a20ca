// State of a job as it is shown, everywhere: `live` is what the bridge knows of it, null if the
// bridge does not know it; then what the backend was told counts. undefined: it was not heard yet.

import { count, duration, loss, NONE } from "./format.js";

const ID_WHOLE = 12, ID_SHOWN = 6; // characters: of an id that is shown whole, and of the end of a longer one

// What people call a job; one without a name by its model, its data, and enough of its id to tell it from others.
export function title(job) {
  if (job.name) return job.name;
  const parts = [job.model_name, job.dataset_path].map(lastPart).filter(Boolean);
  if (!parts.length) return job.job_id;
  const id = job.job_id.replace(/^job-/, "");
  return [...parts, id.length > ID_WHOLE ? id.slice(-ID_SHOWN) : id].join(" · ");
}

// Of a path or an address.
const lastPart = (name) => (name ?? "").split(/[?#]/)[0].split("/").filter(Boolean).at(-1);

// The bridge knows finer states (queued, pausing, cancelling) than the backend.
export function state(job, live) {
  return live?.status ?? job.status;
}

// Seconds in a slot, as `trainyard ps` counts them. Only of a job that the bridge does not know from the start to
// the end, which is another number if it was paused: a page that has just been opened shows none until it is told.
export function elapsedSeconds(job, live) {
  if (live === undefined) return null;
  if (live) return live.elapsed_seconds || null;
  if (!job.started_at) return null;
  const end = job.ended_at ? Date.parse(job.ended_at) : Date.now();
  return (end - Date.parse(job.started_at)) / 1000;
}

export function elapsed(job, live) {
  const seconds = elapsedSeconds(job, live);
  return seconds === null ? NONE : duration(seconds);
}

// The step that a job has reached: the backend hears of steps later than the bridge, or earlier.
export function reached(job, live) {
  const known = [live?.current_step || null, job.latest.step].filter((value) => value != null);
  return known.length ? Math.max(...known) : null;
}

// A step with a learning rate and no loss: it was no finite number, which no report can hold.
export function trainLoss({ latest }) {
  return latest.train_loss == null && latest.learning_rate != null ? "NaN" : loss(latest.train_loss);
}

// How far a job is: a sentence (`whole`: with what to do about it), and the share of its steps if that is
// known and it has not ended.
export function progress(job, live) {
  const step = reached(job, live);
  if (live?.status === "queued") {
    const start = live.estimated_start_seconds;
    const place = live.queue_position ? `Place ${live.queue_position} in the queue` : "In the queue";
    if (live.waiting_reason) {
      const words = live.waiting_reason.split(/[,:;](?= |$)/)[0];
      return { text: `${place}, ${words}`, whole: `${place}, ${live.waiting_reason}`, share: null };
    }
    return { text: start == null ? place : `${place}, starts in ${duration(start)}`, share: null };
  }
  if (step == null) return { text: NONE, share: null };
  const total = live?.total_steps || job.planned_steps;
  const steps = total ? `${count(step)} / ${count(total)}` : count(step);
  const epochs = job.planned_epochs && !total ? `, epoch ${job.latest.epoch} of ${job.planned_epochs}` : "";
  const left = live?.remaining_seconds == null ? "" : `, ${duration(live.remaining_seconds)} left`;
  return { text: `Step ${steps}${epochs}${left}`, share: total && !job.ended_at ? Math.min(1, step / total) : null };
}
