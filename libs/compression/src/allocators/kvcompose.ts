/**
 * KVCompose's allocator: layers compete by composite tokens, and stay rectangular.
 *
 * Composite slot i of a layer stands for the i-th best pair of each of its heads; its score is
 * the mean of theirs. The best slots of all layers are kept, layer 0 valued as the best layer
 * is at every slot, so that it is the longest. Every head of a layer keeps as many pairs, each
 * its own best: no padding and no ragged kernel is needed.
 *
 * Paper: arXiv:2509.05165. A total that does not divide by the heads gives its rest to the
 * lower heads of the next slot. Cost: a sort of every head's scores.
 *
 * @module
 */
import { z } from "zod";
import { orderKey, scoreBits } from "../radix-select.ts";
import type { AllocatorFactory, ScoreSet } from "../types.ts";
import { checkTotal } from "./largest-remainder.ts";

export const kvcompose: AllocatorFactory = {
  name: "kvcompose",
  summary: "layers by their heads' i-th best pairs on average; equal heads within a layer",
  source: "arXiv:2509.05165",
  params: z.strictObject({}),
  create: () => ({ levelsHeads: true, allocate: allocateSlots }),
};

function allocateSlots(scores: ScoreSet, protectedTokens: number, totalBudget: number): Uint32Array {
  const { numLayers: L, numKvHeads: K, seqLen } = scores;
  const ranked = seqLen - protectedTokens;
  checkTotal(L * K, ranked, totalBudget);
  const slot_Ln = slotScores(scores, protectedTokens);
  const bits = scoreBits(slot_Ln);
  const order = Uint32Array.from(slot_Ln.keys()).sort((a, b) => orderKey(bits[b]) - orderKey(bits[a]) || a - b);
  const headBudget_LK = new Uint32Array(L * K);
  for (let i = 0, rest = totalBudget; rest > 0; i++) {
    const l = Math.floor(order[i] / ranked);
    for (let k = 0; k < K && rest > 0; k++, rest--) headBudget_LK[l * K + k]++;
  }
  return headBudget_LK;
}

/** `[L, ranked]`, descending in every layer. */
function slotScores({ numLayers: L, numKvHeads: K, seqLen: S, score_LKS }: ScoreSet, protectedTokens: number): Float32Array {
  const ranked = S - protectedTokens;
  const sum_Ln = new Float64Array(L * ranked);
  for (let row = 0; row < L * K; row++) {
    const sorted_n = score_LKS.slice(row * S + protectedTokens, (row + 1) * S).sort();
    const base = Math.floor(row / K) * ranked;
    for (let i = 0; i < ranked; i++) sum_Ln[base + i] += sorted_n[ranked - 1 - i];
  }
  for (let i = 0; i < ranked; i++) {
    for (let l = 1; l < L; l++) if (sum_Ln[l * ranked + i] > sum_Ln[i]) sum_Ln[i] = sum_Ln[l * ranked + i];
  }
  return Float32Array.from(sum_Ln, (sum) => sum / K);
}
