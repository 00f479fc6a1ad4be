/**
 * Every pair that scores at least `at`, so that the count follows from the text.
 *
 * In the manner of KVzap (arXiv:2601.07891), whose scores are logs: -4 there keeps pairs above
 * 0.018. `keep` is a ceiling; below it the best pairs are kept. Use with allocator `global`,
 * which gives every head as many pairs as it has above one cut; other allocators split the
 * same total their own way. Thresholds do not carry over between scorers or models.
 *
 * @module
 */
import { z } from "zod";
import type { ScoreSet, SelectorFactory } from "../types.ts";
import { selectTopK } from "./top-k.ts";

const params = z.strictObject({
  keep: z.number().gt(0).max(1).default(1).describe("largest fraction of ranked pairs kept, in (0, 1]"),
  at: z.number().default(-4).describe("least score kept"),
});

export const threshold: SelectorFactory = {
  name: "threshold",
  summary: "all pairs above a score, however many the text makes of them",
  source: "arXiv:2601.07891",
  params,
  create: (given) => {
    const { keep, at } = params.parse(given);
    return {
      keepRatio: keep,
      chooseTotal: (scores, protectedTokens, maxBudget) => Math.min(countFrom(scores, protectedTokens, at), maxBudget),
      select: selectTopK,
    };
  },
};

/** Ranked scores that are at least `at`. */
function countFrom({ seqLen: S, score_LKS }: ScoreSet, protectedTokens: number, at: number): number {
  let count = 0;
  for (let start = 0; start < score_LKS.length; start += S) {
    for (let i = start + protectedTokens; i < start + S; i++) if (score_LKS[i] >= at) count++;
  }
  return count;
}
