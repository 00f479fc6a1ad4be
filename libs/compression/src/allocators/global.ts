/**
 * Global allocator: one threshold over all layers, heads and positions (KVzip's "pair" mode,
 * arXiv:2505.23416). Heads that matter get more; a head may get nothing but the prefix.
 *
 * Together with exact top-k per head this is exact top-k over the whole cache, ties to the
 * lowest layer, then head, then position. Scores must be comparable across layers and heads
 * (probabilities, log probabilities), which key norms are not.
 * Cost: four reads of the scores (radix-select.ts), no sort.
 *
 * @module
 */
import { z } from "zod";
import { cutAtCount, orderKey, scoreBits } from "../radix-select.ts";
import type { AllocatorFactory, ScoreSet } from "../types.ts";

export const global: AllocatorFactory = {
  name: "global",
  summary: "best pairs of all layers and heads under one threshold",
  source: "arXiv:2505.23416",
  params: z.strictObject({}),
  create: () => ({ allocate: allocateGlobal }),
};

/** `score_LKS` → `headBudget_LK`: how many of the best `totalBudget` ranked pairs fall in each row. */
export function allocateGlobal(scores: ScoreSet, protectedTokens: number, totalBudget: number): Uint32Array {
  const { numLayers, numKvHeads, seqLen: S, score_LKS } = scores;
  const numRows = numLayers * numKvHeads;
  const headBudget_LK = new Uint32Array(numRows);
  if (totalBudget === 0) return headBudget_LK;
  const bits = scoreBits(score_LKS);
  const cut = cutAtCount(bits, numRows, S, protectedTokens, totalBudget);
  let ties = cut.ties;
  for (let row = 0; row < numRows; row++) {
    let count = 0;
    const end = (row + 1) * S;
    for (let i = row * S + protectedTokens; i < end; i++) {
      const key = orderKey(bits[i]);
      if (key > cut.key) count++;
      else if (key === cut.key && ties > 0) {
        count++;
        ties--;
      }
    }
    headBudget_LK[row] = count;
  }
  return headBudget_LK;
}
