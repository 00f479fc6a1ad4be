/**
 * CompressKV: a few heads per layer that look for meaning vote for all of it.
 *
 *   score[·, s] = mean over the layer's `heads` best retrieval heads of pool(Σ over the last `window` tokens of softmax(q·Kᵀ/√D)[s])
 *
 * Paper: arXiv:2508.02401. Which query heads those are was measured once per model, on needles
 * (profile `retrieval-heads`). All KV heads of a layer rank alike, so a layer stays
 * rectangular. The window is kept first; it is the context's end, not a question's: see
 * snapkv.ts.
 * Cost: `window` softmax rows per head inside prefill, then O(heads·S·kernel).
 *
 * @module
 */
import { z } from "zod";
import type { ScorerFactory, ScorerLayer } from "../types.ts";
import { pool } from "./pooling.ts";
import { favourWindow, windowLayer } from "./window-attention.ts";

const params = z.strictObject({
  heads: z.int().min(1).max(1024).default(4).describe("query heads of a layer that vote"),
  window: z.int().min(1).max(4096).default(8).describe("last context tokens that vote and are kept"),
  kernel: z
    .int()
    .min(1)
    .max(255)
    .refine((kernel) => kernel % 2 === 1, "must be odd")
    .default(5)
    .describe("positions averaged together, odd"),
});

export const compresskv: ScorerFactory = {
  name: "compresskv",
  summary: "pooled attention of the retrieval heads, one ranking per layer",
  source: "arXiv:2508.02401",
  params,
  example: {
    layer: {
      ...{ layer: 0, numLayers: 1, numKvHeads: 1, numQueryHeads: 1, seqLen: 13, headDim: 1, prefixTokens: 0 },
      windowAttention_HS: Float32Array.of(0.5, 0.1, 0.1, 0.1, 0.2, 0, 0, 0, 0, 0, 0, 0, 0),
      profile: { "retrieval-heads": Float32Array.of(0.3) },
    },
    ranking: [12, 11, 10, 9, 8, 7, 6, 5, 2, 1, 0, 3, 4],
  },
  create: (given) => {
    const { heads, window, kernel } = params.parse(given);
    return {
      needs: new Set(["window-attention"] as const),
      windowTokens: window,
      profile: "retrieval-heads",
      queryAgnostic: true,
      score: (layer, out_KS) => scoreCompresskv(layer, heads, window, kernel, out_KS),
    };
  },
};

/** `windowAttention_HS` [queryHead, seq] → `out_KS` [kvHead, seq], all rows equal; higher is kept. */
function scoreCompresskv(layer: ScorerLayer, heads: number, window: number, kernel: number, out_KS: Float32Array): void {
  const { numKvHeads: K, seqLen: S } = layer;
  const { attention_HS, groupSize } = windowLayer(layer);
  const voters = bestHeads(layer, K * groupSize).subarray(0, heads);
  const n = Math.max(0, S - window);
  const pooled_n = new Float32Array(n);
  const sum_n = new Float64Array(n);
  for (let i = 0; i < voters.length; i++) {
    pool("avg", attention_HS.subarray(voters[i] * S, (voters[i] + 1) * S), kernel, pooled_n);
    for (let s = 0; s < n; s++) sum_n[s] += pooled_n[s];
  }
  for (let s = 0; s < n; s++) out_KS[s] = sum_n[s] / voters.length;
  favourWindow(out_KS.subarray(0, S), window);
  for (let k = 1; k < K; k++) out_KS.copyWithin(k * S, 0, S);
}

/** Query heads of the layer, best retrieval head first, the lower one on ties. */
function bestHeads({ layer, numLayers, profile }: ScorerLayer, H: number): Uint32Array {
  const retrieval_LH = profile?.["retrieval-heads"];
  if (retrieval_LH?.length !== numLayers * H) {
    throw new RangeError(`Cannot choose retrieval heads: [${numLayers}, ${H}] needed, found ${retrieval_LH?.length ?? "none"}`);
  }
  const score_H = retrieval_LH.subarray(layer * H, (layer + 1) * H);
  return Uint32Array.from(score_H.keys()).sort((a, b) => score_H[b] - score_H[a] || a - b);
}
