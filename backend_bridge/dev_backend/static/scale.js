// From values to places on an axis. share(value) is 0 at the bottom and 1 at the top.

const ROOM = 0.06; // of the height, above and below the curves

export function linear(values, fromZero) {
  let [low, high] = extremes(values);
  if (fromZero) low = Math.min(0, low);
  const room = (high - low || Math.abs(high) || 1) * ROOM;
  high += room;
  if (!fromZero) low -= room;
  return {
    low,
    high,
    share: (value) => (value - low) / (high - low),
    ticks: (wanted) => ticks(low, high, wanted),
  };
}

export function logarithmic(values) {
  let [low, high] = extremes(values.length ? values : [1]).map(Math.log10);
  const room = (high - low || 1) * ROOM;
  low -= room;
  high += room;
  const share = (value) => (Math.log10(value) - low) / (high - low);
  return { low: 10 ** low, high: 10 ** high, share, ticks: (wanted) => logTicks(low, high, wanted) };
}

function extremes(values) {
  if (!values.length) return [0, 1];
  return [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
}

// Round numbers between low and high, about as many as asked for, at least `least` apart.
export function ticks(low, high, wanted, least = 0) {
  const rough = (high - low) / Math.max(1, wanted);
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = Math.max(least, [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough));
  const found = [];
  for (let i = Math.ceil(low / size); i * size <= high; i += 1) found.push(i * size + 0); // no -0
  return found;
}

// low and high are exponents. Less than a decade: as on a linear axis, else 1, 2, 5 of each decade,
// or the decades alone where those are many.
function logTicks(low, high, wanted) {
  if (high - low < 1) return ticks(10 ** low, 10 ** high, wanted);
  const parts = high - low > wanted ? [1] : [1, 2, 5];
  const found = [];
  for (let power = Math.floor(low); power <= high; power += 1) {
    for (const part of parts) found.push(part * 10 ** power);
  }
  return found.filter((value) => value >= 10 ** low && value <= 10 ** high);
}
