/** As many columns as asked for, each the loudest of the peaks under it, scaled so that the loudest of all is 1. */
export function columns(peaks: readonly number[], wanted: number): number[] {
  if (peaks.length === 0) return [];
  const found = Array.from(
    { length: Math.min(wanted, peaks.length) },
    (_, column, count = Math.min(wanted, peaks.length)) => {
      const from = Math.floor((column * peaks.length) / count);
      const to = Math.max(from + 1, Math.floor(((column + 1) * peaks.length) / count));
      return peaks.slice(from, to).reduce((loudest, peak) => Math.max(loudest, Math.abs(peak)), 0);
    },
  );
  const most = Math.max(...found, 1e-4);
  return found.map((peak) => peak / most);
}

/** A path of upright bars, `width` by `height`, for SVG. */
export function bars(peaks: readonly number[], width: number, height: number, pitch = 4): string {
  const heights = columns(peaks, Math.floor(width / pitch));
  return heights
    .map((peak, index) => {
      const half = Math.max(0.5, (peak * (height - 2)) / 2);
      const across = (((index + 0.5) * width) / heights.length).toFixed(1);
      return `M${across} ${(height / 2 - half).toFixed(1)}V${(height / 2 + half).toFixed(1)}`;
    })
    .join("");
}

/** The peaks of audio that the browser has decoded, for sound that the server has not seen yet. */
export function peaksOf(samples: Float32Array, count: number): number[] {
  const step = Math.max(1, Math.floor(samples.length / count));
  return Array.from({ length: Math.floor(samples.length / step) }, (_, index) => {
    let most = 0;
    for (let at = index * step; at < (index + 1) * step; at++)
      most = Math.max(most, Math.abs(samples[at] ?? 0));
    return most;
  });
}
