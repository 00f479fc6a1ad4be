/**
 * Expected Attention: how much queries to come would look at a key, in closed form.
 *
 * Queries before rotation are taken for Gaussian with mean μ and covariance Σ per query head
 * (from the context, its first `sinks` tokens left out). R̄ is the mean rotation of the
 * `future` positions after the context, and with μ' = R̄ μ, Σ' = R̄ Σ R̄ᵀ
 *
 *   p[h, s] = softmax over s of μ'·k_s/√D + k_sᵀ Σ' k_s / (2D)
 *   score[k, s] = (mean of p over the group + epsilon) · ‖v_s‖₂
 *
 * Paper: arXiv:2510.00636; NVIDIA/kvpress' form. The sinks take no part in the softmax and are
 * kept first. R̄ turns and shrinks every pair (i, i + D/2): with the mean cosine c and sine s
 * of its angles it is the matrix [c -s; s c].
 * Cost: O(H·S·D²), half of it by symmetry; no pass over the context.
 *
 * @module
 */
import { z } from "zod";
import type { ScorerFactory, ScorerLayer } from "../types.ts";

const params = z.strictObject({
  sinks: z.int().min(0).max(65_536).default(4).describe("leading positions left out of the statistics and kept first"),
  future: z.int().min(1).max(65_536).default(512).describe("positions after the context that queries are expected at"),
  epsilon: z.number().min(0).max(1).default(0.01).describe("attention every key gets at least, before the value's norm"),
});

export const expectedAttention: ScorerFactory = {
  name: "expected-attention",
  summary: "attention of Gaussian queries to come, times the value's norm",
  source: "arXiv:2510.00636",
  params,
  example: {
    layer: {
      ...{ layer: 0, numLayers: 1, numKvHeads: 1, numQueryHeads: 1, seqLen: 7, headDim: 1, prefixTokens: 0 },
      key_KSD: Float32Array.of(0, 0, 0, 0, 0, 1, -1),
      value_KSD: new Float32Array(7).fill(1),
      queryMean_HD: Float32Array.of(1),
      queryCovariance_HDD: Float32Array.of(0.5),
      ropeFrequencies: new Float64Array(0),
    },
    ranking: [0, 1, 2, 3, 5, 4, 6],
  },
  create: (given) => {
    const { sinks, future, epsilon } = params.parse(given);
    return {
      needs: new Set(["keys", "values", "query-moments"] as const),
      momentsFrom: sinks,
      queryAgnostic: true,
      score: (layer, out_KS) => scoreExpected(layer, sinks, future, epsilon, out_KS),
    };
  },
};

/** Keys, values and moments → `out_KS` [kvHead, seq]; higher is kept. */
function scoreExpected(layer: ScorerLayer, sinks: number, future: number, epsilon: number, out_KS: Float32Array): void {
  const { numKvHeads: K, numQueryHeads: H = 0, seqLen: S, headDim: D } = layer;
  const { key_KSD, value_KSD, queryMean_HD, queryCovariance_HDD, ropeFrequencies } = layer;
  const G = H / K;
  if (
    key_KSD?.length !== K * S * D ||
    value_KSD?.length !== K * S * D ||
    !(Number.isInteger(G) && G >= 1) ||
    queryMean_HD?.length !== H * D ||
    queryCovariance_HDD?.length !== H * D * D ||
    ropeFrequencies?.length !== D >> 1
  ) {
    throw new RangeError(`Cannot score expected attention: arrays do not fit [${K}, ${S}, ${D}] and ${H} query heads`);
  }
  const rotation = meanRotation(ropeFrequencies, S, future, D);
  const mean_D = new Float64Array(D);
  const covariance_DD = new Float64Array(D * D);
  const p_S = new Float64Array(S);
  const first = Math.min(sinks, S);
  for (let k = 0; k < K; k++) {
    const score_S = out_KS.subarray(k * S, (k + 1) * S);
    const key_SD = key_KSD.subarray(k * S * D, (k + 1) * S * D);
    score_S.fill(0);
    for (let h = k * G; h < (k + 1) * G; h++) {
      rotateMean(queryMean_HD.subarray(h * D, (h + 1) * D), rotation, mean_D);
      rotateCovariance(queryCovariance_HDD.subarray(h * D * D, (h + 1) * D * D), rotation, covariance_DD);
      expectedSoftmax(key_SD, first, D, mean_D, covariance_DD, p_S);
      for (let s = first; s < S; s++) score_S[s] += p_S[s] / G;
    }
    let max = 0;
    for (let s = first; s < S; s++) {
      const base = (k * S + s) * D;
      let squares = 0;
      for (let d = 0; d < D; d++) squares += value_KSD[base + d] * value_KSD[base + d];
      score_S[s] = (score_S[s] + epsilon) * Math.sqrt(squares);
      if (score_S[s] > max) max = score_S[s];
    }
    score_S.fill(max + 1, 0, first);
  }
}

/** Mean cosine and sine of each pair's angle over positions `start … start + count`. */
interface MeanRotation {
  readonly cos: Float64Array;
  readonly sin: Float64Array;
}

function meanRotation(frequencies: Float64Array, start: number, count: number, D: number): MeanRotation {
  const half = D >> 1;
  const cos = new Float64Array(half);
  const sin = new Float64Array(half);
  for (let i = 0; i < half; i++) {
    for (let p = start; p < start + count; p++) {
      cos[i] += Math.cos(p * frequencies[i]) / count;
      sin[i] += Math.sin(p * frequencies[i]) / count;
    }
  }
  return { cos, sin };
}

/** `out_D = R̄ source_D`; an odd last channel stays. */
function rotateMean(source_D: ArrayLike<number>, { cos, sin }: MeanRotation, out_D: Float64Array): void {
  const half = cos.length;
  for (let d = 2 * half; d < out_D.length; d++) out_D[d] = source_D[d];
  for (let i = 0; i < half; i++) {
    const a = source_D[i];
    const b = source_D[i + half];
    out_D[i] = cos[i] * a - sin[i] * b;
    out_D[i + half] = cos[i] * b + sin[i] * a;
  }
}

/** `out_DD = R̄ source_DD R̄ᵀ`. */
function rotateCovariance(source_DD: Float32Array, rotation: MeanRotation, out_DD: Float64Array): void {
  const D = Math.sqrt(out_DD.length);
  const column_D = new Float64Array(D);
  const turned_D = new Float64Array(D);
  const left_DD = new Float64Array(D * D);
  for (let j = 0; j < D; j++) {
    for (let i = 0; i < D; i++) column_D[i] = source_DD[i * D + j];
    rotateMean(column_D, rotation, turned_D);
    for (let i = 0; i < D; i++) left_DD[i * D + j] = turned_D[i];
  }
  for (let i = 0; i < D; i++) rotateMean(left_DD.subarray(i * D, (i + 1) * D), rotation, out_DD.subarray(i * D, (i + 1) * D));
}

/** Softmax over keys from `first` on of μ·k/√D + kᵀ Σ k / (2D), into `out_S`. */
function expectedSoftmax(
  key_SD: Float32Array,
  first: number,
  D: number,
  mean_D: Float64Array,
  covariance_DD: Float64Array,
  out_S: Float64Array,
): void {
  const S = out_S.length;
  const linear = 1 / Math.sqrt(D);
  // Σ as its upper triangle, both halves of a pair added up, 1 / (2D) folded in.
  const upper_DD = new Float64Array(D * D);
  for (let i = 0; i < D; i++) {
    upper_DD[i * D + i] = covariance_DD[i * D + i] / (2 * D);
    for (let j = i + 1; j < D; j++) upper_DD[i * D + j] = (covariance_DD[i * D + j] + covariance_DD[j * D + i]) / (2 * D);
  }
  const key_D = new Float64Array(D);
  let max = Number.NEGATIVE_INFINITY;
  for (let s = first; s < S; s++) {
    for (let d = 0; d < D; d++) key_D[d] = key_SD[s * D + d];
    let logit = 0;
    for (let i = 0; i < D; i++) {
      let sum = mean_D[i] * linear;
      const row = i * D;
      for (let j = i; j < D; j++) sum += upper_DD[row + j] * key_D[j];
      logit += sum * key_D[i];
    }
    out_S[s] = logit;
    if (logit > max) max = logit;
  }
  let total = 0;
  for (let s = first; s < S; s++) total += out_S[s] = Math.exp(out_S[s] - max);
  for (let s = first; s < S; s++) out_S[s] /= total;
}
