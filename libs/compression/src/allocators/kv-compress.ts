/**
 * KV-Compress' allocator: whole blocks are freed, the cheapest of all layers and heads first.
 *
 * A head's pages hold `block` pairs, prefix included; its last page holds
 * `hang = ((S - 1) mod block) + 1`. Freeing the i-th page takes the `hang + i·block` least of
 * its pairs; the page's cost is the score of the most valuable of them. Pages are freed in
 * order of cost until the budget is met, so kept counts are multiples of `block` (but for the
 * one head where the exact total falls inside a page), and pages are really free.
 *
 * Paper: arXiv:2410.00161, whose scores are sums of squared attention; any comparable scores
 * serve. Equal costs free pages of the last heads first. Blocks of 1 make it `global`.
 * Cost: a sort of every head's scores, and of all pages.
 *
 * @module
 */
import { z } from "zod";
import type { AllocatorFactory, ScoreSet } from "../types.ts";
import { checkTotal } from "./largest-remainder.ts";

const params = z.strictObject({
  block: z.int().min(1).max(4096).default(16).describe("pairs of a page"),
});

export const kvCompress: AllocatorFactory = {
  name: "kv-compress",
  summary: "whole pages of pairs under one threshold over all layers and heads",
  source: "arXiv:2410.00161",
  params,
  create: (given) => {
    const { block } = params.parse(given);
    return { allocate: (scores, protectedTokens, total) => allocateBlocks(scores, protectedTokens, total, block) };
  },
};

function allocateBlocks(
  { numLayers, numKvHeads, seqLen: S, score_LKS }: ScoreSet,
  protectedTokens: number,
  totalBudget: number,
  block: number,
): Uint32Array {
  const numRows = numLayers * numKvHeads;
  const ranked = S - protectedTokens;
  checkTotal(numRows, ranked, totalBudget);
  const headBudget_LK = new Uint32Array(numRows).fill(ranked);
  const hang = ((S - 1) % block) + 1;
  const pages = ranked === 0 ? 0 : 1 + Math.max(0, Math.ceil((ranked - hang) / block));
  const cost_RP = new Float32Array(numRows * pages);
  for (let row = 0; row < numRows; row++) {
    const score_n = score_LKS.slice(row * S + protectedTokens, (row + 1) * S);
    cost_RP.set(pageCosts(score_n, hang, block), row * pages);
  }
  const order = Uint32Array.from(cost_RP.keys()).sort((a, b) => cost_RP[a] - cost_RP[b] || freedBefore(a, b, pages));
  let toFree = numRows * ranked - totalBudget;
  for (let i = 0; toFree > 0; i++) {
    const row = Math.floor(order[i] / pages);
    const size = Math.min(toFree, order[i] % pages === 0 ? Math.min(hang, ranked) : block, headBudget_LK[row]);
    headBudget_LK[row] -= size;
    toFree -= size;
  }
  return headBudget_LK;
}

/** Pages of equal cost: the last heads' first, in a head the earlier. */
function freedBefore(a: number, b: number, pages: number): number {
  return Math.floor(b / pages) - Math.floor(a / pages) || a - b;
}

/** Most valuable pair lost with each page, freed in order; sorts `score_n` in place. */
export function pageCosts(score_n: Float32Array, hang: number, block: number): Float32Array {
  const n = score_n.length;
  if (n === 0) return score_n;
  score_n.sort();
  const pages = 1 + Math.max(0, Math.ceil((n - hang) / block));
  return Float32Array.from({ length: pages }, (_, i) => score_n[Math.min(n, hang + i * block) - 1]);
}
