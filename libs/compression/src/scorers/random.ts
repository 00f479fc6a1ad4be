/**
 * Random scorer: the control every method has to beat.
 *
 * Draws depend on the seed and the layer alone, so a record can be made again bit for bit.
 *
 * @module
 */
import { createRng } from "@kvault/core";
import { z } from "zod";
import type { ScorerFactory } from "../types.ts";

const params = z.strictObject({
  seed: z.int().min(0).max(0xffffffff).default(0).describe("seed of the draws"),
});

export const random: ScorerFactory = {
  name: "random",
  summary: "uniform noise, seeded; the control",
  source: "own",
  params,
  example: {
    layer: { layer: 0, numLayers: 1, numKvHeads: 1, seqLen: 6, headDim: 1, prefixTokens: 0 },
    ranking: [4, 3, 2, 0, 1, 5],
  },
  create: (given) => {
    const { seed } = params.parse(given);
    return {
      needs: new Set(),
      queryAgnostic: true,
      score: ({ layer, numKvHeads, seqLen }, out_KS) => scoreRandom(seed, layer, numKvHeads * seqLen, out_KS),
    };
  },
};

/** Writes the first `count` of `out_KS`: uniform in [0, 1]. */
function scoreRandom(seed: number, layer: number, count: number, out_KS: Float32Array): void {
  const rng = createRng(seed ^ Math.imul(layer + 1, 0x9e3779b9));
  for (let i = 0; i < count; i++) out_KS[i] = rng.next();
}
