/**
 * The three matrix products the value refit is made of, behind an interface so that a runtime
 * can do them where it does all others. Matrices are row-major f32.
 *
 * @module
 */
import { dot } from "../dot.ts";

/** Products of row-major f32 matrices; each result is new. */
export interface MatMul {
  /** `a` [M, N] times `b` [N, D] → [M, D]. */
  times(a: Float32Array, b: Float32Array, M: number, N: number, D: number): Promise<Float32Array>;
  /** `a` [M, N] transposed times `b` [M, D] → [N, D]. */
  transposedTimes(a: Float32Array, b: Float32Array, M: number, N: number, D: number): Promise<Float32Array>;
  /** `a` [M, D] times `b` [N, D] transposed → [M, N]. */
  timesTransposed(a: Float32Array, b: Float32Array, M: number, N: number, D: number): Promise<Float32Array>;
}

/** Plain loops, sums in f64: the reference, and what runs where nothing faster is given. */
export const plainMatMul: MatMul = {
  async times(a, b, M, N, D) {
    const out = new Float32Array(M * D);
    const row_D = new Float64Array(D);
    for (let m = 0; m < M; m++) {
      row_D.fill(0);
      for (let n = 0; n < N; n++) {
        const x = a[m * N + n];
        const base = n * D;
        for (let d = 0; d < D; d++) row_D[d] += x * b[base + d];
      }
      out.set(row_D, m * D);
    }
    return out;
  },
  async transposedTimes(a, b, M, N, D) {
    const sum_ND = new Float64Array(N * D);
    for (let m = 0; m < M; m++) {
      const from = m * D;
      for (let n = 0; n < N; n++) {
        const x = a[m * N + n];
        const base = n * D;
        for (let d = 0; d < D; d++) sum_ND[base + d] += x * b[from + d];
      }
    }
    return Float32Array.from(sum_ND);
  },
  async timesTransposed(a, b, M, N, D) {
    const out = new Float32Array(M * N);
    for (let m = 0; m < M; m++) {
      for (let n = 0; n < N; n++) out[m * N + n] = dot(a, m * D, b, n * D, D);
    }
    return out;
  },
};
