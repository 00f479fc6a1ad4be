/**
 * LeanKV's dynamic sparsity: a pair is kept if it matters at least `low` times what its head's
 * pairs matter on average.
 *
 * Heads with a few outstanding pairs keep few, heads that spread their attention keep many.
 * The keep ratio is a ceiling: where it binds, pairs go by score over mean, over all heads.
 *
 * Paper: arXiv:2412.03131. No code of it is public; the form of the thresholds is inferred. Its
 * classes of precision are the codec `leankv`. Scores below 0 count from the head's least.
 * Cost: one pass over the scores and a global cut.
 *
 * @module
 */
import { z } from "zod";
import type { AllocatorFactory, ScoreSet } from "../types.ts";
import { allocateGlobal } from "./global.ts";

const params = z.strictObject({
  low: z.number().min(0).max(1000).default(0.5).describe("least score kept, in means of the head"),
});

export const leankv: AllocatorFactory = {
  name: "leankv",
  summary: "every head's pairs above a share of its mean score (reconstruction)",
  source: "arXiv:2412.03131",
  params,
  create: (given) => {
    const { low } = params.parse(given);
    return {
      allocate: (scores, protectedTokens, total) => allocateGlobal(overMean(scores, protectedTokens), protectedTokens, total),
      chooseTotal: (scores, protectedTokens, maxBudget) => {
        const { seqLen, score_LKS } = overMean(scores, protectedTokens);
        let count = 0;
        for (let i = 0; i < score_LKS.length; i++) if (i % seqLen >= protectedTokens && score_LKS[i] >= low) count++;
        return Math.min(count, maxBudget);
      },
    };
  },
};

/** Scores of each row over their mean, 1 where all are alike. */
function overMean(scores: ScoreSet, protectedTokens: number): ScoreSet {
  const { seqLen: S } = scores;
  const score_LKS = Float32Array.from(scores.score_LKS);
  for (let start = 0; start < score_LKS.length; start += S) {
    const score_n = score_LKS.subarray(start + protectedTokens, start + S);
    let least = 0;
    let sum = 0;
    for (let i = 0; i < score_n.length; i++) {
      if (score_n[i] < least) least = score_n[i];
      sum += score_n[i];
    }
    const mean = sum / score_n.length - least;
    for (let i = 0; i < score_n.length; i++) score_n[i] = mean > 0 ? (score_n[i] - least) / mean : 1;
  }
  return { ...scores, score_LKS };
}
