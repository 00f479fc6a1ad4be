/**
 * PyramidKV's allocator: more for early layers, whose attention is spread out, linearly less
 * for later ones; all heads of a layer alike.
 *
 *   base = pairs per head - window,  last = base / beta,  first = 2·base - last
 *   layer l gets first - l·(first - last) / (L - 1), and the window
 *
 * Paper: arXiv:2406.02069. Where the first layer has not that many pairs, it takes what it has
 * and the last one takes the rest. The authors' code floors the step and so hands out up to 3%
 * more than asked; here the shares stay real until largest remainders make them whole and
 * their sum exact. A budget within the window is uniform.
 * Cost: O(L·K log L·K); looks at no score.
 *
 * @module
 */
import { z } from "zod";
import type { AllocatorFactory, ScoreSet } from "../types.ts";
import { checkTotal, largestRemainder } from "./largest-remainder.ts";

const params = z.strictObject({
  beta: z.number().min(1).max(1000).default(20).describe("the last layer's share of the mean is one over this"),
  window: z.int().min(0).max(4096).default(64).describe("pairs every head gets before the rest is split, as the scorer's window"),
});

export const pyramid: AllocatorFactory = {
  name: "pyramid",
  summary: "linearly less from the first layer to the last",
  source: "arXiv:2406.02069",
  params,
  create: (given) => {
    const { beta, window } = params.parse(given);
    return {
      levelsHeads: true,
      allocate: (scores, protectedTokens, total) => allocatePyramid(scores, protectedTokens, total, beta, window),
    };
  },
};

function allocatePyramid(
  { numLayers: L, numKvHeads: K, seqLen }: ScoreSet,
  protectedTokens: number,
  totalBudget: number,
  beta: number,
  window: number,
): Uint32Array {
  const ranked = seqLen - protectedTokens;
  checkTotal(L * K, ranked, totalBudget);
  const mean = totalBudget / (L * K);
  const base = Math.max(0, mean - window);
  let last = base / beta;
  let first = 2 * base - last;
  if (first > ranked - window) {
    first = Math.max(base, ranked - window);
    last = 2 * base - first;
  }
  const ideal_LK = new Float64Array(L * K);
  for (let row = 0; row < L * K; row++) {
    const l = Math.floor(row / K);
    ideal_LK[row] = mean - base + (L === 1 ? base : first - (l * (first - last)) / (L - 1));
  }
  return largestRemainder(ideal_LK, totalBudget, 0, ranked);
}
