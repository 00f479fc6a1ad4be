/**
 * Budgets by what heads were worth in calibration, whatever the context: BaKlaVa and relatives.
 *
 *   budget ∝ floor · mean + (1 - floor) · importance^exponent
 *
 * Paper: arXiv:2502.13176 (importance of a head: 1 - cosine of its attention's input and
 * output). No code of it is public: the floor, the exponent and the proportion are a
 * reconstruction. The profile may as well be KVzip's head scores or DuoAttention's gates.
 *
 * @module
 */
import { z } from "zod";
import type { AllocatorFactory, ProfileName } from "../types.ts";
import { profileOf, shareByWeight } from "./head-shares.ts";

const PROFILES = { baklava: "baklava-heads", kvzip: "kvzip-heads", duo: "duo-heads" } as const satisfies Record<
  string,
  ProfileName
>;

const params = z.strictObject({
  profile: z.enum(["baklava", "kvzip", "duo"]).default("baklava").describe("whose measure of a head"),
  floor: z.number().min(0).max(1).default(0.2).describe("share of the mean that every head gets"),
  exponent: z.number().gt(0).max(8).default(1).describe("above 1 sharpens the differences, below 1 levels them"),
});

export const headProfile: AllocatorFactory = {
  name: "head-profile",
  summary: "in proportion to the heads' importance in calibration (reconstruction)",
  source: "arXiv:2502.13176",
  params,
  create: (given) => {
    const { profile, floor, exponent } = params.parse(given);
    const name = PROFILES[profile];
    return {
      profile: name,
      allocate: ({ numLayers, numKvHeads, seqLen, profile: measured }, protectedTokens, total) => {
        const importance_LK = profileOf(measured?.[name], name, numLayers * numKvHeads);
        const weight_LK = Float64Array.from(importance_LK, (x) => Math.max(0, x) ** exponent);
        return shareByWeight(weight_LK, seqLen - protectedTokens, total, floor);
      },
    };
  },
};
