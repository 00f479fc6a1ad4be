/**
 * TOVA: what the last token looks at, the same for every head of the layer.
 *
 *   score[·, s] = mean over all query heads of softmax(q_last·Kᵀ/√D)[s]
 *
 * Paper: arXiv:2401.06104. The last token itself is kept first. Equal scores in all heads keep
 * a layer rectangular. The last token of the context, not of a question: see snapkv.ts.
 * Cost: one softmax row per head inside prefill, then O(H·S).
 *
 * @module
 */
import { z } from "zod";
import type { ScorerFactory, ScorerLayer } from "../types.ts";
import { favourWindow, meanOfHeads, windowLayer } from "./window-attention.ts";

export const tova: ScorerFactory = {
  name: "tova",
  summary: "attention of the context's last token, one ranking per layer",
  source: "arXiv:2401.06104",
  params: z.strictObject({}),
  example: {
    layer: {
      ...{ layer: 0, numLayers: 1, numKvHeads: 1, numQueryHeads: 2, seqLen: 4, headDim: 1, prefixTokens: 0 },
      windowAttention_HS: Float32Array.of(0.5, 0.1, 0.3, 0.1, 0.1, 0.7, 0.1, 0.1),
    },
    ranking: [3, 1, 0, 2],
  },
  create: () => ({
    needs: new Set(["window-attention"] as const),
    windowTokens: 1,
    queryAgnostic: true,
    score: scoreTova,
  }),
};

/** `windowAttention_HS` [queryHead, seq] → `out_KS` [kvHead, seq], all rows equal; higher is kept. */
function scoreTova(layer: ScorerLayer, out_KS: Float32Array): void {
  const { numKvHeads: K, seqLen: S } = layer;
  const { attention_HS, groupSize: G } = windowLayer(layer);
  const mean_S = out_KS.subarray(0, S);
  meanOfHeads(attention_HS, S, 0, K * G, mean_S);
  favourWindow(mean_S, 1);
  for (let k = 1; k < K; k++) out_KS.copyWithin(k * S, 0, S);
}
