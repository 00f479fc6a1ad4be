/**
 * Ada-KV's allocator: every layer gets the same, its heads compete for it.
 *
 *   hits[h] = how many of the layer's best pairs are the head's
 *   B[h]    = (1 - floor)·hits[h] + floor·(the layer's mean)
 *
 * Paper: arXiv:2407.11550. Scores need to be comparable within a layer only. `form=paper` mixes
 * as above, largest remainders keeping the layer's sum; the authors' code rounds each head and
 * loses or gains pairs. `form=kvpress` grants every head its own best `floor` share of the mean
 * and lets the rest of all heads compete, as NVIDIA/kvpress does.
 * Cost: four reads of the scores (radix-select.ts); `kvpress` also a copy of one layer's.
 *
 * @module
 */
import { z } from "zod";
import { cutAtCount, orderKey, scoreBits } from "../radix-select.ts";
import type { AllocatorFactory, ScoreSet } from "../types.ts";
import { checkTotal, largestRemainder } from "./largest-remainder.ts";

const params = z.strictObject({
  floor: z.number().min(0).max(1).default(0.2).describe("share of the layer's mean that no head competes for"),
  form: z.enum(["paper", "kvpress"]).default("paper").describe("whose rule: the authors' or NVIDIA/kvpress'"),
});

export const adaKv: AllocatorFactory = {
  name: "ada-kv",
  summary: "the same for every layer, whose heads compete for it",
  source: "arXiv:2407.11550",
  params,
  create: (given) => {
    const { floor, form } = params.parse(given);
    const shareLayer = form === "paper" ? mixHits : grantFloors;
    return { allocate: (scores, protectedTokens, total) => allocateAdaKv(scores, protectedTokens, total, floor, shareLayer) };
  },
};

/** One layer's scores `[K, S]`, its budget and the floor → counts per head. */
type ShareLayer = (score_KS: Float32Array, K: number, protectedTokens: number, budget: number, floor: number) => Uint32Array;

function allocateAdaKv(
  { numLayers: L, numKvHeads: K, seqLen: S, score_LKS }: ScoreSet,
  protectedTokens: number,
  totalBudget: number,
  floor: number,
  shareLayer: ShareLayer,
): Uint32Array {
  checkTotal(L * K, S - protectedTokens, totalBudget);
  const headBudget_LK = new Uint32Array(L * K);
  const perLayer = Math.floor(totalBudget / L);
  const longer = totalBudget % L;
  for (let l = 0; l < L; l++) {
    const score_KS = score_LKS.subarray(l * K * S, (l + 1) * K * S);
    const budget = perLayer + (l < longer ? 1 : 0);
    headBudget_LK.set(shareLayer(score_KS, K, protectedTokens, budget, floor), l * K);
  }
  return headBudget_LK;
}

function mixHits(score_KS: Float32Array, K: number, protectedTokens: number, budget: number, floor: number): Uint32Array {
  const hits_K = bestPerHead(scoreBits(score_KS), K, protectedTokens, budget);
  const ideal_K = Float64Array.from(hits_K, (hits) => (1 - floor) * hits + (floor * budget) / K);
  return largestRemainder(ideal_K, budget, 0, score_KS.length / K - protectedTokens);
}

function grantFloors(score_KS: Float32Array, K: number, protectedTokens: number, budget: number, floor: number): Uint32Array {
  const S = score_KS.length / K;
  const granted = Math.trunc(Math.trunc(budget / K) * floor);
  const raised_KS = Float32Array.from(score_KS);
  for (let k = 0; granted > 0 && k < K; k++) {
    const raised_S = raised_KS.subarray(k * S, (k + 1) * S);
    const bits = scoreBits(score_KS.subarray(k * S, (k + 1) * S));
    const cut = cutAtCount(bits, 1, S, protectedTokens, granted);
    let ties = cut.ties;
    for (let s = protectedTokens; s < S; s++) {
      const key = orderKey(bits[s]);
      if (key > cut.key || (key === cut.key && ties-- > 0)) raised_S[s] = Number.POSITIVE_INFINITY;
    }
  }
  return bestPerHead(scoreBits(raised_KS), K, protectedTokens, budget);
}

/** How many of the best `count` of `[K, S]` scores fall in each head, ties to the lower one. */
function bestPerHead(bits: Uint32Array, K: number, protectedTokens: number, count: number): Uint32Array {
  const S = bits.length / K;
  const hits_K = new Uint32Array(K);
  if (count === 0) return hits_K;
  const cut = cutAtCount(bits, K, S, protectedTokens, count);
  let ties = cut.ties;
  for (let k = 0; k < K; k++) {
    let hits = 0;
    for (let i = k * S + protectedTokens; i < (k + 1) * S; i++) {
      const key = orderKey(bits[i]);
      if (key > cut.key) hits++;
      else if (key === cut.key && ties > 0) {
        hits++;
        ties--;
      }
    }
    hits_K[k] = hits;
  }
  return hits_K;
}
