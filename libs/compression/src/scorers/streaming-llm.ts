/**
 * StreamingLLM: the first positions (attention sinks) and then the most recent ones.
 *
 *   score[k, s] = s,  or above every other for s < sinks (the first one highest)
 *
 * Paper: arXiv:2309.17453. The sinks count from the start of the sequence, so those inside the
 * template prefix are kept anyway. The paper re-indexes the kept keys from 0; here, as
 * everywhere, they keep their original rotations. Blind to content: of no use for retrieval,
 * a floor to compare others with. Positions are exact in f32 up to 16 Mi tokens.
 *
 * @module
 */
import { z } from "zod";
import type { ScorerFactory } from "../types.ts";

const params = z.strictObject({
  sinks: z.int().min(0).max(65_536).default(4).describe("leading positions ranked above all others"),
});

export const streamingLlm: ScorerFactory = {
  name: "streaming-llm",
  summary: "first positions, then the most recent",
  source: "arXiv:2309.17453",
  params,
  example: {
    layer: { layer: 0, numLayers: 1, numKvHeads: 1, seqLen: 8, headDim: 1, prefixTokens: 0 },
    ranking: [0, 1, 2, 3, 7, 6, 5, 4],
  },
  create: (given) => {
    const { sinks } = params.parse(given);
    return {
      needs: new Set(),
      queryAgnostic: true,
      score: ({ numKvHeads, seqLen }, out_KS) => scoreRecency(numKvHeads, seqLen, sinks, out_KS),
    };
  },
};

/** Writes `out_KS` [kvHead, seq]; higher is kept. */
function scoreRecency(K: number, S: number, sinks: number, out_KS: Float32Array): void {
  for (let k = 0; k < K; k++) {
    const base = k * S;
    for (let s = 0; s < S; s++) out_KS[base + s] = s < sinks ? S + sinks - s : s;
  }
}
