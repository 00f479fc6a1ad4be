/**
 * H2O: attention received from every later token, per token that could give it.
 *
 *   score[k, s] = mean over the query heads of the group of Σ over t ≥ s of softmax(q_t·Kᵀ/√D)[s], divided by S - s
 *
 * Paper: arXiv:2306.14048. The paper's plain sum favours old positions, which more tokens see;
 * the division takes that away (as NVIDIA/kvpress does). With `recent`, the last tokens are
 * kept first.
 * Cost: every softmax row of prefill, summed inside the graph, then O(H·S).
 *
 * @module
 */
import { z } from "zod";
import type { ScorerFactory, ScorerLayer } from "../types.ts";
import { favourWindow, meanOfHeads, windowLayer } from "./window-attention.ts";

const params = z.strictObject({
  recent: z.int().min(0).max(65_536).default(0).describe("last context tokens kept first"),
});

export const h2o: ScorerFactory = {
  name: "h2o",
  summary: "mean attention received from all later tokens",
  source: "arXiv:2306.14048",
  params,
  example: {
    layer: {
      ...{ layer: 0, numLayers: 1, numKvHeads: 1, numQueryHeads: 1, seqLen: 4, headDim: 1, prefixTokens: 0 },
      windowAttention_HS: Float32Array.of(2.5, 0.9, 0.39, 0.2),
    },
    ranking: [0, 1, 3, 2], // .625 .3 .195 .2
  },
  create: (given) => {
    const { recent } = params.parse(given);
    return {
      needs: new Set(["window-attention"] as const),
      windowTokens: Number.POSITIVE_INFINITY,
      queryAgnostic: true,
      score: (layer, out_KS) => scoreH2o(layer, recent, out_KS),
    };
  },
};

/** `windowAttention_HS` [queryHead, seq] → `out_KS` [kvHead, seq]; higher is kept. */
function scoreH2o(layer: ScorerLayer, recent: number, out_KS: Float32Array): void {
  const { numKvHeads: K, seqLen: S } = layer;
  const { attention_HS, groupSize: G } = windowLayer(layer);
  for (let k = 0; k < K; k++) {
    const score_S = out_KS.subarray(k * S, (k + 1) * S);
    meanOfHeads(attention_HS, S, k * G, G, score_S);
    for (let s = 0; s < S; s++) score_S[s] /= S - s;
    if (recent > 0) favourWindow(score_S, recent);
  }
}
