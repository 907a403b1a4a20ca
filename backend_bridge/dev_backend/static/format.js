// Numbers and times as people read them. Absent values are a dash.

export const NONE = "–";

export function loss(value) {
  if (value == null) return NONE;
  const size = Math.abs(value);
  if (size >= 1e7 || (size > 0 && size < 0.001)) return value.toExponential(2);
  if (size >= 1000) return count(value);
  return value.toFixed(size < 1 ? 4 : 3);
}

// What people call a job.
export function title(job) {
  return job.name || job.model_name || job.job_id;
}

// The state that is shown: the bridge knows finer ones (queued, pausing, cancelling) than the backend.
export function state(job, live) {
  return live?.status ?? job.status;
}

// A round number at an axis.
export function tick(value) {
  return value.toLocaleString("en-US", { maximumSignificantDigits: 3 });
}

export function count(value) {
  return value == null ? NONE : Math.round(value).toLocaleString("en-US");
}

export function compact(value) {
  if (value == null) return NONE;
  return value.toLocaleString("en-US", { notation: "compact", maximumSignificantDigits: 3 });
}

export function rate(value) {
  if (value == null) return NONE;
  return value === 0 ? "0" : value.toExponential(2).replace(/\.?0+e/, "e").replace("e+0", "");
}

export function gigabytes(value) {
  return value == null ? NONE : `${value.toFixed(1)} GB`;
}

export function bytes(value) {
  if (value == null) return NONE;
  const unit = value >= 1e9 ? [1e9, "GB"] : value >= 1e6 ? [1e6, "MB"] : [1e3, "kB"];
  return `${(value / unit[0]).toLocaleString("en-US", { maximumSignificantDigits: 3 })} ${unit[1]}`;
}

export function percent(value) {
  return value == null ? NONE : `${Math.round(value)}%`;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const days = Math.floor(whole / 86400);
  const hours = Math.floor((whole % 86400) / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  if (minutes) return `${minutes} min ${whole % 60} s`;
  return `${whole} s`;
}

export function ago(iso) {
  if (!iso) return NONE;
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  return seconds < 5 ? "just now" : `${duration(seconds).split(" ").slice(0, 2).join(" ")} ago`;
}

export function moment(iso) {
  return iso ? new Date(iso).toLocaleString() : NONE;
}

// What the bridge counts, as `trainyard ps` shows it; without it, from the first start to the end, or to now.
export function elapsed(job, live) {
  if (live?.elapsed_seconds) return duration(live.elapsed_seconds);
  if (!job.started_at) return NONE;
  const end = job.ended_at ? Date.parse(job.ended_at) : Date.now();
  return duration((end - Date.parse(job.started_at)) / 1000);
}

// The step that a job has reached: the backend hears of steps later than the bridge, or earlier.
export function reached(job, live) {
  const known = [live?.current_step || null, job.latest.step].filter((value) => value != null);
  return known.length ? Math.max(...known) : null;
}

// How far a job is. `live` is what the bridge knows of it; without it, what the backend was told.
export function progress(job, live) {
  const step = reached(job, live);
  if (live?.status === "queued") {
    const start = live.estimated_start_seconds;
    const place = live.queue_position ? `Place ${live.queue_position} in the queue` : "In the queue";
    return { text: start == null ? place : `${place}, starts in ${duration(start)}`, share: null };
  }
  if (step == null) return { text: NONE, share: null };
  const total = live?.total_steps || job.planned_steps;
  const steps = total ? `${count(step)} / ${count(total)}` : count(step);
  const epochs = job.planned_epochs && !total ? `, epoch ${job.latest.epoch} of ${job.planned_epochs}` : "";
  const left = live?.remaining_seconds == null ? "" : `, ${duration(live.remaining_seconds)} left`;
  return { text: `Step ${steps}${epochs}${left}`, share: total ? Math.min(1, step / total) : null };
}
