/**
 * R-KV: important and unlike what comes after.
 *
 *   score = lambda · importance - (1 - lambda) · redundancy
 *   redundancy = softmax over s of the mean over other keys i of cos(k_i, k_s), where the *last*
 *                key that row i resembles (cosine above 0.5) is let off
 *   importance = attention of the last `window` tokens, max-pooled over 7 positions
 *
 * Paper: arXiv:2505.24133, made for long chains of thought; on a context it is a baseline. The
 * importance is a reconstruction: the paper takes the largest *logit* over the group before a
 * softmax over the keys before the window; here each head's window attention is normalised over
 * those keys and the largest of the group is taken. The window is kept first.
 *
 * Cost: the sum over rows i is one product with the sum of all unit keys; the pair that row i
 * lets off is found from the end, usually at once. O(K·S·D), at worst O(K·S²·D) for keys that
 * resemble none.
 *
 * @module
 */
import { z } from "zod";
import { dot } from "../dot.ts";
import type { ScorerFactory, ScorerLayer } from "../types.ts";
import { pool } from "./pooling.ts";
import { favourWindow, windowLayer } from "./window-attention.ts";

const KERNEL = 7;
const SIMILAR = 0.5;

const params = z.strictObject({
  window: z.int().min(1).max(4096).default(8).describe("last context tokens that vote and are kept"),
  lambda: z.number().min(0).max(1).default(0.1).describe("weight of importance; the rest is redundancy's"),
});

export const rKv: ScorerFactory = {
  name: "r-kv",
  summary: "attention of the context's last tokens less the key's redundancy",
  source: "arXiv:2505.24133",
  params,
  example: {
    layer: {
      ...{ layer: 0, numLayers: 1, numKvHeads: 1, numQueryHeads: 1, seqLen: 12, headDim: 2, prefixTokens: 0 },
      // Of the near-copies 0, 1 and 3 the older carry the penalty; the window resembles none.
      key_KSD: Float32Array.of(1, 0, 1, 0.1, 0, 1, 1, 0.05, ...new Array(16).fill(0)),
      windowAttention_HS: new Float32Array(12).fill(1),
    },
    ranking: [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
  },
  create: (given) => {
    const { window, lambda } = params.parse(given);
    return {
      needs: new Set(["keys", "window-attention"] as const),
      windowTokens: window,
      queryAgnostic: true,
      score: (layer, out_KS) => scoreRkv(layer, window, lambda, out_KS),
    };
  },
};

/** `key_KSD` and `windowAttention_HS` → `out_KS` [kvHead, seq]; higher is kept. */
function scoreRkv(layer: ScorerLayer, window: number, lambda: number, out_KS: Float32Array): void {
  const { numKvHeads: K, seqLen: S, headDim: D, key_KSD } = layer;
  if (key_KSD?.length !== K * S * D) {
    throw new RangeError(`Cannot score keys: [${K}, ${S}, ${D}] needs ${K * S * D} values, found ${key_KSD?.length ?? "none"}`);
  }
  const { attention_HS, groupSize: G } = windowLayer(layer);
  const n = Math.max(0, S - window);
  for (let k = 0; k < K; k++) {
    const redundancy_S = redundancyOf(key_KSD.subarray(k * S * D, (k + 1) * S * D), D);
    const importance_n = importanceOf(attention_HS.subarray(k * G * S, (k + 1) * G * S), G, n);
    const score_S = out_KS.subarray(k * S, (k + 1) * S);
    for (let s = 0; s < n; s++) score_S[s] = lambda * importance_n[s] - (1 - lambda) * redundancy_S[s];
    favourWindow(score_S, window);
  }
}

/** Window attention normalised over the first `n` keys, largest of the group, normalised again, max-pooled. */
function importanceOf(attention_GS: Float32Array, G: number, n: number): Float32Array {
  const S = attention_GS.length / G;
  const largest_n = new Float32Array(n);
  for (let g = 0; g < G; g++) {
    let sum = 0;
    for (let s = 0; s < n; s++) sum += attention_GS[g * S + s];
    for (let s = 0; sum > 0 && s < n; s++) largest_n[s] = Math.max(largest_n[s], attention_GS[g * S + s] / sum);
  }
  let total = 0;
  for (let s = 0; s < n; s++) total += largest_n[s];
  for (let s = 0; total > 0 && s < n; s++) largest_n[s] /= total;
  const pooled_n = new Float32Array(n);
  pool("max", largest_n, KERNEL, pooled_n);
  return pooled_n;
}

/** Softmax over keys of their mean similarity to the others, `[S]`. */
export function redundancyOf(key_SD: Float32Array, D: number): Float64Array {
  const S = key_SD.length / D;
  const unit_SD = new Float64Array(S * D);
  const sum_D = new Float64Array(D);
  for (let s = 0; s < S; s++) {
    let squares = 0;
    for (let d = 0; d < D; d++) squares += key_SD[s * D + d] * key_SD[s * D + d];
    const inverse = squares > 0 ? 1 / Math.sqrt(squares) : 0;
    for (let d = 0; d < D; d++) {
      unit_SD[s * D + d] = key_SD[s * D + d] * inverse;
      sum_D[d] += unit_SD[s * D + d];
    }
  }
  const mean_S = new Float64Array(S);
  for (let s = 0; s < S; s++) {
    mean_S[s] = (dot(unit_SD, s * D, sum_D, 0, D) - dot(unit_SD, s * D, unit_SD, s * D, D)) / S;
  }
  for (let i = 0; i < S; i++) {
    for (let j = S - 1; j >= 0; j--) {
      if (j === i) continue;
      const cosine = dot(unit_SD, i * D, unit_SD, j * D, D);
      if (cosine <= SIMILAR) continue;
      mean_S[j] -= cosine / S;
      break;
    }
  }
  let max = Number.NEGATIVE_INFINITY;
  for (let s = 0; s < S; s++) if (mean_S[s] > max) max = mean_S[s];
  let total = 0;
  for (let s = 0; s < S; s++) total += mean_S[s] = Math.exp(mean_S[s] - max);
  for (let s = 0; s < S; s++) mean_S[s] /= total;
  return mean_S;
}
