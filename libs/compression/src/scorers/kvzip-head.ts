/**
 * KVzip's head level: whole heads are kept or not, by what they were worth on one text.
 *
 *   score[k, s] = largest KVzip score that (layer, k) reached in calibration
 *
 * Paper: arXiv:2505.23416. Context-independent (profile `kvzip-heads`), so that nothing is
 * scored per context. Use with `global` and `top-k`: heads are kept in order of their scores,
 * equal ones the lower first; the last one that does not fit whole keeps its earliest pairs.
 * The authors recommend keeping 0.6 at this level.
 *
 * @module
 */
import { z } from "zod";
import type { ScorerFactory, ScorerLayer } from "../types.ts";

export const kvzipHead: ScorerFactory = {
  name: "kvzip-head",
  summary: "the head's largest KVzip score in calibration; whole heads are kept",
  source: "arXiv:2505.23416",
  params: z.strictObject({}),
  example: {
    layer: {
      ...{ layer: 0, numLayers: 1, numKvHeads: 1, seqLen: 3, headDim: 1, prefixTokens: 0 },
      profile: { "kvzip-heads": Float32Array.of(0.7) },
    },
    ranking: [0, 1, 2],
  },
  create: () => ({ needs: new Set(), profile: "kvzip-heads", queryAgnostic: true, score: scoreHeads }),
};

/** Writes `out_KS` [kvHead, seq]; higher is kept. */
function scoreHeads({ layer, numLayers, numKvHeads: K, seqLen: S, profile }: ScorerLayer, out_KS: Float32Array): void {
  const score_LK = profile?.["kvzip-heads"];
  if (score_LK?.length !== numLayers * K) {
    throw new RangeError(`Cannot score heads: [${numLayers}, ${K}] needed, found ${score_LK?.length ?? "none"}`);
  }
  for (let k = 0; k < K; k++) out_KS.fill(score_LK[layer * K + k], k * S, (k + 1) * S);
}
