/**
 * DBudgetKV's stop rule on any ranking: evict the least of a head's pairs until what was lost
 * reaches a share of the whole, and stop there by itself.
 *
 *   lost(j) = share of the head's score mass in pairs ranked no higher than j
 *   kept: all pairs with lost(j) ≥ loss, at most the keep ratio's
 *
 * Paper: arXiv:2502.16886. No code of it is public and the abstract leaves the check open: this
 * is a reconstruction on score mass, per head, where the paper ranks by position and compares
 * attention norms. Scores below 0 count from the head's least. Where the keep ratio is the
 * tighter bound, pairs go by lost(j), least first, over all heads.
 * Cost: a sort of every head's scores, twice.
 *
 * @module
 */
import { z } from "zod";
import type { AllocatorFactory, ScoreSet } from "../types.ts";
import { allocateGlobal } from "./global.ts";

const params = z.strictObject({
  loss: z.number().min(0).max(1).default(0.01).describe("share of a head's score mass that may be lost"),
});

export const dbudget: AllocatorFactory = {
  name: "dbudget",
  summary: "every head until a share of its score mass is lost (reconstruction)",
  source: "arXiv:2502.16886",
  params,
  create: (given) => {
    const { loss } = params.parse(given);
    return {
      allocate: (scores, protectedTokens, total) => allocateGlobal(lostMass(scores, protectedTokens), protectedTokens, total),
      chooseTotal: (scores, protectedTokens, maxBudget) => {
        const { seqLen, score_LKS } = lostMass(scores, protectedTokens);
        let count = 0;
        for (let i = 0; i < score_LKS.length; i++) if (i % seqLen >= protectedTokens && score_LKS[i] >= loss) count++;
        return Math.min(count, maxBudget);
      },
    };
  },
};

/** Scores of each row replaced by lost(j), ascending: their places no longer tell positions, which counting does not need. */
function lostMass(scores: ScoreSet, protectedTokens: number): ScoreSet {
  const { seqLen: S } = scores;
  const score_LKS = Float32Array.from(scores.score_LKS);
  for (let start = 0; start < score_LKS.length; start += S) {
    const mass_n = score_LKS.subarray(start + protectedTokens, start + S).sort();
    const least = Math.min(0, mass_n[0]);
    let total = 0;
    for (let i = 0; i < mass_n.length; i++) total += mass_n[i] - least;
    let lost = 0;
    for (let i = 0; i < mass_n.length; i++) {
      lost += mass_n[i] - least;
      mass_n[i] = total > 0 ? lost / total : 1;
    }
  }
  return { ...scores, score_LKS };
}
