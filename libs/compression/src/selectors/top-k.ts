/**
 * Exact top-k of one head: the protected positions, then the best `budget` of the rest.
 *
 * Exactly `budget`, never fewer: the strict threshold of the reference implementation loses
 * pairs to ties and rounding. Equal scores go to the lower position.
 * Cost: four reads of the scores (radix-select.ts) and one of the output.
 *
 * @module
 */
import { z } from "zod";
import { cutAtCount, orderKey, scoreBits } from "../radix-select.ts";
import type { SelectorFactory } from "../types.ts";

const params = z.strictObject({
  keep: z.number().gt(0).max(1).default(0.3).describe("fraction of ranked pairs kept, in (0, 1]"),
});

export const topK: SelectorFactory = {
  name: "top-k",
  summary: "the best pairs of each head, exactly as many as budgeted",
  source: "own",
  params,
  create: (given) => ({ keepRatio: params.parse(given).keep, select: selectTopK }),
};

/** `score_S` of one head → `protectedTokens + budget` ascending positions. */
export function selectTopK(score_S: Float32Array, protectedTokens: number, budget: number): Uint32Array {
  const S = score_S.length;
  if (protectedTokens + budget > S) {
    throw new RangeError(`Cannot select ${budget} pairs: ${S - protectedTokens} positions are ranked`);
  }
  const position_n = new Uint32Array(protectedTokens + budget);
  for (let s = 0; s < protectedTokens; s++) position_n[s] = s;
  if (budget === 0) return position_n;
  const bits = scoreBits(score_S);
  const cut = cutAtCount(bits, 1, S, protectedTokens, budget);
  let ties = cut.ties;
  let n = protectedTokens;
  for (let s = protectedTokens; s < S; s++) {
    const key = orderKey(bits[s]);
    if (key > cut.key) position_n[n++] = s;
    else if (key === cut.key && ties > 0) {
      position_n[n++] = s;
      ties--;
    }
  }
  return position_n;
}
