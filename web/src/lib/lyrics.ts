/** The index of the stretch that is sung at `time`, or of the last one before it; -1 before the first. */
export function sungAt(stretches: readonly { start: number }[], time: number): number {
  let low = 0;
  let high = stretches.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((stretches[middle] as { start: number }).start <= time) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
