// Smoothing of a curve: an exponential mean without the pull of its start, as TensorBoard's.

export function smooth(values, weight) {
  let mean = 0;
  let share = 0;
  return values.map((value) => {
    mean = mean * weight + (1 - weight) * value;
    share = share * weight + (1 - weight);
    return mean / share;
  });
}
