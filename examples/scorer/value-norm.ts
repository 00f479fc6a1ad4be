/**
 * Value-norm scorer: what has a long value moves the output when it is looked at.
 *
 *   score[k, s] = ‖value[k, s]‖
 *
 * A baseline, and the example of docs/add-a-method.md. Needs values only, so it runs before any
 * question is known. Cost: one pass over the values, O(K·S·D).
 *
 * @module
 */
import type { ScorerFactory, ScorerLayer } from "@kvault/compression";
import { z } from "zod";

export const valueNorm: ScorerFactory = {
  name: "value-norm",
  summary: "norm of the value",
  source: "own",
  params: z.strictObject({}),
  example: {
    layer: {
      ...{ layer: 0, numLayers: 1, numKvHeads: 1, seqLen: 4, headDim: 2, prefixTokens: 0 },
      value_KSD: Float32Array.of(1, 0, 0, 5, 2, 0, -3, -3),
    },
    ranking: [1, 3, 2, 0],
  },
  create: () => ({ needs: new Set(["values"] as const), queryAgnostic: true, score: scoreValueNorm }),
};

/** `value_KSD` [kvHead, seq, headDim] → `out_KS` [kvHead, seq]; higher is kept. */
function scoreValueNorm({ numKvHeads: K, seqLen: S, headDim: D, value_KSD }: ScorerLayer, out_KS: Float32Array): void {
  if (value_KSD?.length !== K * S * D) {
    throw new RangeError(`Cannot score values: [${K}, ${S}, ${D}] needs ${K * S * D}, found ${value_KSD?.length ?? "none"}`);
  }
  for (let row = 0; row < K * S; row++) {
    let sum = 0;
    for (let i = row * D; i < (row + 1) * D; i++) sum += value_KSD[i] * value_KSD[i];
    out_KS[row] = Math.sqrt(sum);
  }
}
