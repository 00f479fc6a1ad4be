/**
 * L2-norm scorer: a key of small norm draws much attention.
 *
 *   score[k, s] = -‖key[k, s]‖₂
 *
 * Paper: arXiv:2406.11430. Rotation keeps norms, so post-RoPE keys serve. Weak on models that
 * RMS-normalise keys (Qwen3, Gemma-3): their norms hardly differ.
 * Cost: one pass over the keys, O(K·S·D); allocates nothing.
 *
 * @module
 */
import { z } from "zod";
import type { ScorerFactory, ScorerLayer } from "../types.ts";

export const l2norm: ScorerFactory = {
  name: "l2norm",
  summary: "negative L2 norm of the key",
  source: "arXiv:2406.11430",
  params: z.strictObject({}),
  example: {
    layer: {
      ...{ layer: 0, numLayers: 1, numKvHeads: 1, seqLen: 4, headDim: 2, prefixTokens: 0 },
      key_KSD: Float32Array.of(3, 0, 0.5, 0, 0, 2, 2, 1),
    },
    ranking: [1, 2, 3, 0],
  },
  create: () => ({ needs: new Set(["keys"] as const), queryAgnostic: true, score: scoreL2norm }),
};

/** `key_KSD` [kvHead, seq, headDim] → `out_KS` [kvHead, seq]; higher is kept. */
function scoreL2norm({ numKvHeads: K, seqLen: S, headDim: D, key_KSD }: ScorerLayer, out_KS: Float32Array): void {
  if (key_KSD?.length !== K * S * D) {
    throw new RangeError(`Cannot score keys: [${K}, ${S}, ${D}] needs ${K * S * D} values, found ${key_KSD?.length ?? "none"}`);
  }
  for (let row = 0; row < K * S; row++) {
    const base = row * D;
    let sum = 0;
    for (let d = 0; d < D; d++) sum += key_KSD[base + d] * key_KSD[base + d];
    out_KS[row] = -Math.sqrt(sum);
  }
}
