/**
 * KVCompose's scores: what a head looks at while the context is repeated, steadied by what its
 * layer looks at.
 *
 *   score[k, s] = a[k, s] + mean over the layer's heads of a[·, s]
 *
 * Paper: arXiv:2509.05165. With the allocator `kvcompose`, layers stay rectangular while every
 * head keeps its own tokens. The paper replays the bare context under a full softmax, averages
 * over the group and costs n²; here `a` is KVzip's repeat pass (scorers/kvzip.ts), the largest
 * attention over the group, which costs a pass.
 *
 * @module
 */
import { z } from "zod";
import type { ScorerFactory, ScorerLayer } from "../types.ts";
import { kvzip } from "./kvzip.ts";

const params = z.strictObject({
  chunk: z.int().min(16).max(65_536).default(2000).describe("context tokens repeated per prompt"),
});

export const kvcompose: ScorerFactory = {
  name: "kvcompose",
  summary: "repeat attention plus its mean over the layer's heads",
  source: "arXiv:2509.05165",
  params,
  example: {
    layer: {
      ...{ layer: 0, numLayers: 1, numKvHeads: 1, seqLen: 4, headDim: 2, prefixTokens: 1 },
      repeatAttention_KS: Float32Array.of(0.9, 0.2509, 0.6233, 0.5413),
    },
    ranking: [2, 3, 1, 0],
  },
  create: (given) => {
    const { chunk } = params.parse(given);
    const base = kvzip.create({ chunk });
    return {
      ...base,
      score: (layer, out_KS) => {
        base.score(layer, out_KS);
        addLayerMean(layer, out_KS);
      },
    };
  },
};

function addLayerMean({ numKvHeads: K, seqLen: S }: ScorerLayer, score_KS: Float32Array): void {
  for (let s = 0; s < S; s++) {
    let sum = 0;
    for (let k = 0; k < K; k++) sum += score_KS[k * S + s];
    for (let k = 0; k < K; k++) score_KS[k * S + s] += sum / K;
  }
}
