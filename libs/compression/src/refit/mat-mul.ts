/**
 * The matrix products and the two attentions the value refit is made of, behind an interface so
 * that a runtime can do them where it does all others. Matrices are row-major f32.
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
  /** Rows of softmax(`query` [M, D] · `key` [N, D]ᵀ / √D) → [M, N]. */
  attention(query: Float32Array, key: Float32Array, M: number, N: number, D: number): Promise<Float32Array>;
  /** The same times `value` [N, D] → [M, D]; the rows are never given out. */
  attend(query: Float32Array, key: Float32Array, value: Float32Array, M: number, N: number, D: number): Promise<Float32Array>;
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
  async attention(query, key, M, N, D) {
    const weight_MN = await plainMatMul.timesTransposed(query, key, M, N, D);
    softmaxRowsInPlace(weight_MN, N, 1 / Math.sqrt(D));
    return weight_MN;
  },
  async attend(query, key, value, M, N, D) {
    return plainMatMul.times(await plainMatMul.attention(query, key, M, N, D), value, M, N, D);
  },
};

/** Rows of `n` logits, each times `scale`, become probabilities. */
function softmaxRowsInPlace(logit_Mn: Float32Array, n: number, scale: number): void {
  for (let base = 0; base < logit_Mn.length; base += n) {
    let max = Number.NEGATIVE_INFINITY;
    for (let i = base; i < base + n; i++) if (logit_Mn[i] > max) max = logit_Mn[i];
    let sum = 0;
    for (let i = base; i < base + n; i++) {
      const weight = Math.exp((logit_Mn[i] - max) * scale);
      logit_Mn[i] = weight;
      sum += weight;
    }
    for (let i = base; i < base + n; i++) logit_Mn[i] /= sum;
  }
}
