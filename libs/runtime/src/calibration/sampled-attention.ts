/**
 * Attention of some sampled queries over chosen positions of a layer: what offline measures of
 * heads and layers compare.
 *
 *   out[m] = Σ_s softmax over visible s of (q_m · k_s / √D) · v_s
 *
 * @module
 */
import type { MatMul } from "@kvault/compression";

export interface SampledHead {
  /** `[M, D]` rotated queries. */
  readonly query_MD: Float32Array;
  /** `[S, D]` rotated keys. */
  readonly key_SD: Float32Array;
  readonly value_SD: Float32Array;
  readonly headDim: number;
}

/** Logits `[M, S]`, scaled. */
export async function scaledLogits({ query_MD, key_SD, headDim: D }: SampledHead, matMul: MatMul): Promise<Float32Array> {
  const logit_MS = await matMul.timesTransposed(query_MD, key_SD, query_MD.length / D, key_SD.length / D, D);
  const scale = 1 / Math.sqrt(D);
  for (let i = 0; i < logit_MS.length; i++) logit_MS[i] *= scale;
  return logit_MS;
}

/** Output `[M, D]` of softmax over the positions that `isVisible` for a query; every query must see one. */
export async function attendVisible(
  head: SampledHead,
  logit_MS: Float32Array,
  isVisible: (m: number, s: number) => boolean,
  matMul: MatMul,
): Promise<Float32Array> {
  const { value_SD, headDim: D } = head;
  const S = value_SD.length / D;
  const M = logit_MS.length / S;
  const weight_MS = new Float32Array(logit_MS.length);
  for (let m = 0; m < M; m++) {
    let max = Number.NEGATIVE_INFINITY;
    for (let s = 0; s < S; s++) if (isVisible(m, s)) max = Math.max(max, logit_MS[m * S + s]);
    let sum = 0;
    for (let s = 0; s < S; s++) {
      if (!isVisible(m, s)) continue;
      const weight = Math.exp(logit_MS[m * S + s] - max);
      weight_MS[m * S + s] = weight;
      sum += weight;
    }
    for (let s = 0; s < S; s++) weight_MS[m * S + s] /= sum;
  }
  return matMul.times(weight_MS, value_SD, M, S, D);
}

/** ‖a - b‖² and ‖b‖². */
export function squaredError(a: Float32Array, b: Float32Array): { readonly error: number; readonly norm: number } {
  let error = 0;
  let norm = 0;
  for (let i = 0; i < a.length; i++) {
    error += (a[i] - b[i]) ** 2;
    norm += b[i] ** 2;
  }
  return { error, norm };
}
