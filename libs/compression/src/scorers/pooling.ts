/**
 * Pooling along positions, stride 1, as torch's `avg_pool1d` and `max_pool1d` with padding
 * `kernel >> 1`: averages divide by the whole kernel, padding counted as zeros; maxima are over
 * what is there.
 *
 * @module
 */

export type Pooling = "avg" | "max";

/** Pools `source[0, n)` into `out_n`, `n = out_n.length`; `kernel` is odd. Cost: n·kernel. */
export function pool(pooling: Pooling, source: Float32Array, kernel: number, out_n: Float32Array): void {
  const n = out_n.length;
  const half = kernel >> 1;
  for (let i = 0; i < n; i++) {
    const start = Math.max(0, i - half);
    const end = Math.min(n, i + half + 1);
    let sum = 0;
    let max = source[start];
    for (let j = start; j < end; j++) {
      const x = source[j];
      sum += x;
      if (x > max) max = x;
    }
    out_n[i] = pooling === "avg" ? sum / kernel : max;
  }
}
