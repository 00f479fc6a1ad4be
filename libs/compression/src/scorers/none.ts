/**
 * No scorer: for plans that keep every pair and only re-encode them. Refused with a keep
 * ratio below 1, where it would silently keep the earliest positions.
 *
 * @module
 */
import { z } from "zod";
import type { ScorerFactory } from "../types.ts";

export const none: ScorerFactory = {
  name: "none",
  summary: "ranks nothing; only with keep=1",
  source: "own",
  params: z.strictObject({}),
  example: {
    layer: { layer: 0, numLayers: 1, numKvHeads: 1, seqLen: 3, headDim: 1, prefixTokens: 0 },
    ranking: [0, 1, 2],
  },
  create: () => ({
    needs: new Set(),
    queryAgnostic: true,
    unranked: true,
    score: ({ numKvHeads, seqLen }, out_KS) => void out_KS.fill(0, 0, numKvHeads * seqLen),
  }),
};
