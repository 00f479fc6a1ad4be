/**
 * KeyDiff scorer: a key unlike the others carries what the others do not.
 *
 *   score[k, s] = -cos(key[k, s], mean over s' of key[k, s'] / ‖key[k, s']‖)
 *
 * Paper: arXiv:2504.15364. Needs keys only, so it runs before any question is known.
 * Cost: two passes over the keys, O(K·S·D), and one vector of D numbers.
 *
 * @module
 */
import type { ScorerFactory, ScorerLayer } from "@kvault/compression";
import { z } from "zod";

export const keydiff: ScorerFactory = {
  name: "keydiff",
  summary: "difference of the key from the head's mean direction",
  source: "arXiv:2504.15364",
  params: z.strictObject({}),
  example: {
    layer: {
      ...{ layer: 0, numLayers: 1, numKvHeads: 1, seqLen: 4, headDim: 2, prefixTokens: 0 },
      key_KSD: Float32Array.of(1, 0, 0, 5, 2, 0, -3, -3),
    },
    ranking: [3, 1, 0, 2],
  },
  create: () => ({ needs: new Set(["keys"] as const), queryAgnostic: true, score: scoreKeydiff }),
};

/** `key_KSD` [kvHead, seq, headDim] → `out_KS` [kvHead, seq]; higher is kept. */
function scoreKeydiff({ numKvHeads: K, seqLen: S, headDim: D, key_KSD }: ScorerLayer, out_KS: Float32Array): void {
  if (key_KSD?.length !== K * S * D) {
    throw new RangeError(`Cannot score keys: [${K}, ${S}, ${D}] needs ${K * S * D} values, found ${key_KSD?.length ?? "none"}`);
  }
  const mean_D = new Float64Array(D);
  for (let k = 0; k < K; k++) {
    mean_D.fill(0);
    for (let s = 0; s < S; s++) {
      const base = (k * S + s) * D;
      const norm = normOf(key_KSD, base, D);
      for (let d = 0; d < D; d++) mean_D[d] += key_KSD[base + d] / norm;
    }
    const meanNorm = normOf(mean_D, 0, D);
    for (let s = 0; s < S; s++) {
      const base = (k * S + s) * D;
      let dot = 0;
      for (let d = 0; d < D; d++) dot += key_KSD[base + d] * mean_D[d];
      out_KS[k * S + s] = -dot / (normOf(key_KSD, base, D) * meanNorm);
    }
  }
}

/** Norm of D numbers from `base`; never 0, so that it divides. */
function normOf(vector: Float32Array | Float64Array, base: number, D: number): number {
  let sum = 0;
  for (let d = 0; d < D; d++) sum += vector[base + d] * vector[base + d];
  return Math.max(Math.sqrt(sum), 1e-12);
}
