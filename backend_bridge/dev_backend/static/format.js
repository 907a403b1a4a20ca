// Numbers and times as people read them. Absent values are a dash.

export const NONE = "–";

export function loss(value) {
  if (value == null) return NONE;
  const size = Math.abs(value);
  if (size >= 1e7 || (size > 0 && size < 0.001)) return value.toExponential(2);
  if (size >= 1000) return count(value);
  return value.toFixed(size < 1 ? 4 : 3);
}

// A round number at an axis.
export function tick(value) {
  return (value + 0).toLocaleString("en-US", { maximumSignificantDigits: 4 }); // + 0: there is no -0
}

export function count(value) {
  return value == null ? NONE : Math.round(value).toLocaleString("en-US");
}

export function rate(value) {
  if (value == null || !Number.isFinite(Number(value))) return NONE;
  const number = Number(value);
  return number === 0 ? "0" : number.toExponential(2).replace(/\.?0+e/, "e").replace("e+0", "");
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

// A length of time at an axis: 90 s are 1 min 30 s, 60 s are 1 min.
export function span(seconds) {
  return duration(seconds).replace(/(?<=\S) 0 (s|min|h)$/, "");
}

export function ago(iso) {
  if (!iso) return NONE;
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  return seconds < 5 ? "just now" : `${duration(seconds).split(" ").slice(0, 2).join(" ")} ago`;
}

export function moment(iso) {
  return iso ? new Date(iso).toLocaleString() : NONE;
}
