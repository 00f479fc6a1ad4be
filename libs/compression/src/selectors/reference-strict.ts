/**
 * The rule of KVzip's own code: pairs strictly above the score of rank `max(int(N·keep) - 1, 0)`.
 *
 * At least one pair fewer than `int(N·keep)`, and many fewer where scores tie (head scores in
 * bf16 do: at small ratios nothing is left). For comparisons with the reference only; use with
 * allocator `global`.
 *
 * Paper: arXiv:2505.23416.
 *
 * @module
 */
import { z } from "zod";
import { cutAtCount, orderKey, scoreBits } from "../radix-select.ts";
import type { ScoreSet, SelectorFactory } from "../types.ts";
import { selectTopK } from "./top-k.ts";

const params = z.strictObject({
  keep: z.number().gt(0).max(1).default(0.3).describe("fraction of ranked pairs whose least score is the threshold, in (0, 1]"),
});

export const referenceStrict: SelectorFactory = {
  name: "reference-strict",
  summary: "KVzip's own strict threshold, which loses ties; for comparisons",
  source: "arXiv:2505.23416",
  params,
  create: (given) => {
    const { keep } = params.parse(given);
    return {
      keepRatio: keep,
      ...(keep < 1
        ? { chooseTotal: (scores, protectedTokens, max) => Math.min(max, countAbove(scores, protectedTokens, keep)) }
        : {}),
      select: selectTopK,
    };
  },
};

function countAbove({ seqLen: S, score_LKS }: ScoreSet, protectedTokens: number, keep: number): number {
  const numRows = score_LKS.length / S;
  const ranked = numRows * (S - protectedTokens);
  if (ranked === 0) return 0;
  const bits = scoreBits(score_LKS);
  const cut = cutAtCount(bits, numRows, S, protectedTokens, Math.max(Math.trunc(ranked * keep), 1));
  let count = 0;
  for (let start = 0; start < score_LKS.length; start += S) {
    for (let i = start + protectedTokens; i < start + S; i++) if (orderKey(bits[i]) > cut.key) count++;
  }
  return count;
}
