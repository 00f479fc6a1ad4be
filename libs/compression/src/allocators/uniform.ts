/**
 * Uniform allocator: the same count for every layer and head, so that a layer stays a
 * rectangle. What does not divide goes one pair each to the lowest layers and heads (largest
 * remainder, all remainders being equal).
 *
 * @module
 */
import { z } from "zod";
import type { AllocatorFactory, ScoreSet } from "../types.ts";

export const uniform: AllocatorFactory = {
  name: "uniform",
  summary: "the same count for every layer and head",
  source: "own",
  params: z.strictObject({}),
  create: () => ({ levelsHeads: true, allocate: allocateUniform }),
};

function allocateUniform(scores: ScoreSet, protectedTokens: number, totalBudget: number): Uint32Array {
  const numRows = scores.numLayers * scores.numKvHeads;
  const ranked = numRows * (scores.seqLen - protectedTokens);
  if (totalBudget < 0 || totalBudget > ranked) throw new RangeError(`Cannot allocate ${totalBudget} pairs: ${ranked} are ranked`);
  const headBudget_LK = new Uint32Array(numRows).fill(Math.floor(totalBudget / numRows));
  const rest = totalBudget % numRows;
  for (let row = 0; row < rest; row++) headBudget_LK[row]++;
  return headBudget_LK;
}
