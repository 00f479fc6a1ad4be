/**
 * KeyDiff: a key unlike the others carries what the others do not.
 *
 *   score[k, s] = -cos(key[k, s], mean over s' of key[k, s'] / ‖key[k, s']‖)
 *
 * Paper: arXiv:2504.15364, which evicts block by block under a memory cap; here once, over the
 * whole context. Cost: two passes over the keys, O(K·S·D), and one vector of D numbers.
 *
 * @module
 */
import { z } from "zod";
import type { ScorerFactory, ScorerLayer } from "../types.ts";

export const keydiff: ScorerFactory = {
  name: "keydiff",
  summary: "difference of the key from the head's mean direction",
  source: "arXiv:2504.15364",
  params: z.strictObject({}),
  example: {
    layer: {
      ...{ layer: 0, numLayers: 1, numKvHeads: 1, seqLen: 4, headDim: 2, prefixTokens: 0 },
      key_KSD: Float32Array.of(3, 0, 0.4, 0, 0, 2, 2, 1),
    },
    ranking: [2, 0, 1, 3],
  },
  create: () => ({ needs: new Set(["keys"] as const), queryAgnostic: true, score: scoreKeydiff }),
};

/** `key_KSD` [kvHead, seq, headDim] → `out_KS` [kvHead, seq]; higher is kept. */
function scoreKeydiff({ numKvHeads: K, seqLen: S, headDim: D, key_KSD }: ScorerLayer, out_KS: Float32Array): void {
  if (key_KSD?.length !== K * S * D) {
    throw new RangeError(`Cannot score keys: [${K}, ${S}, ${D}] needs ${K * S * D} values, found ${key_KSD?.length ?? "none"}`);
  }
  const anchor_D = new Float64Array(D);
  const norm_S = new Float64Array(S);
  for (let k = 0; k < K; k++) {
    anchor_D.fill(0);
    for (let s = 0; s < S; s++) {
      const base = (k * S + s) * D;
      let sum = 0;
      for (let d = 0; d < D; d++) sum += key_KSD[base + d] * key_KSD[base + d];
      norm_S[s] = Math.max(Math.sqrt(sum), 1e-12);
      for (let d = 0; d < D; d++) anchor_D[d] += key_KSD[base + d] / norm_S[s];
    }
    let sum = 0;
    for (let d = 0; d < D; d++) sum += anchor_D[d] * anchor_D[d];
    const anchorNorm = Math.max(Math.sqrt(sum), 1e-12);
    for (let s = 0; s < S; s++) {
      const base = (k * S + s) * D;
      let dot = 0;
      for (let d = 0; d < D; d++) dot += key_KSD[base + d] * anchor_D[d];
      out_KS[k * S + s] = -dot / (norm_S[s] * anchorNorm);
    }
  }
}
