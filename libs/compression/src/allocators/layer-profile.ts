/**
 * CompressKV's layer budgets: in proportion to what a tiny cache costs each layer, measured
 * once per model.
 *
 *   tokens(l) = floor + round(error(l) · (total - floor · L)), in [floor, cap · mean]
 *
 * then one token more or less each, round and round, until the sum is exact: the most
 * important layers first when giving, the least important when taking. All heads of a layer
 * get the same.
 *
 * Paper: arXiv:2508.02401; its own profile was measured on the benchmark it reports, ours on
 * other texts (profile `layer-errors`). A total that does not divide by the heads gives its
 * rest to the lower heads of the most important layer that has room. Looks at no score.
 *
 * @module
 */
import { z } from "zod";
import { roundHalfEven } from "../round-half-even.ts";
import type { AllocatorFactory } from "../types.ts";
import { profileOf } from "./head-shares.ts";
import { checkTotal, settle } from "./largest-remainder.ts";

const params = z.strictObject({
  floor: z.int().min(0).max(65_536).default(32).describe("tokens every layer gets"),
  cap: z.number().min(1).max(1000).default(3).describe("most that a layer gets, in means"),
});

export const layerProfile: AllocatorFactory = {
  name: "layer-profile",
  summary: "layers by their eviction error in calibration",
  source: "arXiv:2508.02401",
  params,
  create: (given) => {
    const { floor, cap } = params.parse(given);
    return {
      profile: "layer-errors",
      levelsHeads: true,
      allocate: ({ numLayers: L, numKvHeads: K, seqLen, profile }, protectedTokens, total) => {
        const ranked = seqLen - protectedTokens;
        checkTotal(L * K, ranked, total);
        const error_L = profileOf(profile?.["layer-errors"], "layer-errors", L);
        const tokens_L = layerTokens(error_L, Math.floor(total / K), floor, cap, ranked);
        const headBudget_LK = new Uint32Array(L * K);
        for (let row = 0; row < L * K; row++) headBudget_LK[row] = tokens_L[Math.floor(row / K)];
        const rest = total % K;
        const roomy = byImportance(error_L).find((l) => tokens_L[l] < ranked) ?? 0;
        for (let k = 0; k < rest; k++) headBudget_LK[roomy * K + k]++;
        return headBudget_LK;
      },
    };
  },
};

/** Tokens per layer, summing to `total`. */
export function layerTokens(error_L: Float32Array, total: number, floor: number, cap: number, ranked: number): Uint32Array {
  const L = error_L.length;
  const mean = total / L;
  // Less than the floor for each is spread evenly.
  const lo = Math.min(floor, Math.floor(mean), ranked);
  const hi = Math.min(ranked, mean < floor ? Math.ceil(mean) : Math.max(Math.ceil(mean), Math.floor(cap * mean)));
  let sum = 0;
  for (let l = 0; l < L; l++) sum += error_L[l];
  const tokens_L = new Uint32Array(L);
  let rest = total;
  for (let l = 0; l < L; l++) {
    const share = sum > 0 ? error_L[l] / sum : 1 / L;
    tokens_L[l] = Math.min(Math.max(lo + roundHalfEven(share * (total - lo * L)), lo), hi);
    rest -= tokens_L[l];
  }
  const order = byImportance(error_L);
  settle(tokens_L, rest < 0 ? order.reverse() : order, rest, lo, hi);
  return tokens_L;
}

/** Layers, largest error first, the lower one on ties. */
function byImportance(error_L: Float32Array): Uint32Array {
  return Uint32Array.from(error_L.keys()).sort((a, b) => error_L[b] - error_L[a] || a - b);
}
