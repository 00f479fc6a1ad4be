/**
 * SnapKV: what the last tokens look at, neighbours included.
 *
 *   score[k, s] = mean over the query heads of the group of pool(Σ over the last `window` tokens of softmax(q·Kᵀ/√D)[s])
 *
 * Paper: arXiv:2404.14469. Pooling runs along positions before the window, per query head. The
 * window itself is kept first, the latest tokens before the earlier ones.
 *
 * In the paper the window is the end of the prompt, question included. Here it is the end of
 * the context, read before any question is known: the scores serve every question, and find
 * much less than the paper's. A baseline.
 * Cost: `window` softmax rows per head inside prefill, then O(H·S·kernel).
 *
 * @module
 */
import { z } from "zod";
import type { ScorerFactory, ScorerLayer } from "../types.ts";
import { type Pooling, pool } from "./pooling.ts";
import { favourWindow, meanOfHeads, windowLayer } from "./window-attention.ts";

const params = z.strictObject({
  window: z.int().min(1).max(4096).default(64).describe("last context tokens that vote and are kept"),
  kernel: z
    .int()
    .min(1)
    .max(255)
    .refine((kernel) => kernel % 2 === 1, "must be odd")
    .default(5)
    .describe("positions pooled together, odd"),
  pooling: z.enum(["avg", "max"]).default("avg").describe("mean or maximum of the pooled positions"),
});

export const snapkv: ScorerFactory = {
  name: "snapkv",
  summary: "pooled attention of the context's last tokens",
  source: "arXiv:2404.14469",
  params,
  example: {
    layer: {
      ...{ layer: 0, numLayers: 1, numKvHeads: 1, numQueryHeads: 1, seqLen: 69, headDim: 1, prefixTokens: 0 },
      windowAttention_HS: new Float32Array(69).fill(0.9, 5).map((x, s) => [0.5, 0.1, 0.1, 0.1, 0.2][s] ?? x),
    },
    // Pooled: .14 .16 .20 .10 .08; before them the 64 of the window, latest first.
    ranking: [...Array.from({ length: 64 }, (_, i) => 68 - i), 2, 1, 0, 3, 4],
  },
  create: (given) => {
    const { window, kernel, pooling } = params.parse(given);
    return {
      needs: new Set(["window-attention"] as const),
      windowTokens: window,
      queryAgnostic: true,
      score: (layer, out_KS) => scoreSnapkv(layer, window, kernel, pooling, out_KS),
    };
  },
};

/** `windowAttention_HS` [queryHead, seq] → `out_KS` [kvHead, seq]; higher is kept. */
function scoreSnapkv(layer: ScorerLayer, window: number, kernel: number, pooling: Pooling, out_KS: Float32Array): void {
  const { numKvHeads: K, seqLen: S } = layer;
  const { attention_HS, groupSize: G } = windowLayer(layer);
  const n = Math.max(0, S - window);
  const pooled_GS = new Float32Array(G * S);
  for (let k = 0; k < K; k++) {
    for (let g = 0; g < G; g++) {
      const head_S = attention_HS.subarray((k * G + g) * S, (k * G + g + 1) * S);
      pool(pooling, head_S, kernel, pooled_GS.subarray(g * S, g * S + n));
    }
    meanOfHeads(pooled_GS, S, 0, G, out_KS.subarray(k * S, k * S + n));
    favourWindow(out_KS.subarray(k * S, (k + 1) * S), window);
  }
}
