/**
 * DuoAttention's split: retrieval heads keep everything, the others their first and last tokens.
 *
 * Every head gets `sinks + recent` pairs; what is left fills heads in order of their gates, the
 * last one as far as it goes. With the scorer `streaming-llm(sinks=…)` the others then keep
 * sinks and recent tokens, and equal fractions of full heads come from equal budgets.
 *
 * Paper: arXiv:2410.10819. The paper trains the gates; `profile=kvzip` takes KVzip's head
 * scores, which a few forward passes give. A budget below the floor is uniform. Looks at no
 * score.
 *
 * @module
 */
import { z } from "zod";
import type { AllocatorFactory } from "../types.ts";
import { profileOf } from "./head-shares.ts";
import { checkTotal, largestRemainder } from "./largest-remainder.ts";

const params = z.strictObject({
  profile: z.enum(["duo", "kvzip"]).default("kvzip").describe("trained gates, or KVzip's head scores"),
  sinks: z.int().min(0).max(65_536).default(64).describe("leading tokens of a streaming head"),
  recent: z.int().min(0).max(65_536).default(256).describe("last tokens of a streaming head"),
});

export const duo: AllocatorFactory = {
  name: "duo",
  summary: "whole retrieval heads, a fixed window for the others",
  source: "arXiv:2410.10819",
  params,
  create: (given) => {
    const { profile, sinks, recent } = params.parse(given);
    const name = profile === "duo" ? "duo-heads" : "kvzip-heads";
    return {
      profile: name,
      allocate: ({ numLayers, numKvHeads, seqLen, profile: measured }, protectedTokens, total) => {
        const gate_LK = profileOf(measured?.[name], name, numLayers * numKvHeads);
        return fillHeads(gate_LK, seqLen - protectedTokens, sinks + recent, total);
      },
    };
  },
};

function fillHeads(gate_LK: Float32Array, ranked: number, floor: number, total: number): Uint32Array {
  const numRows = gate_LK.length;
  checkTotal(numRows, ranked, total);
  const window = Math.min(floor, ranked);
  if (total <= window * numRows) return largestRemainder(new Float64Array(numRows).fill(total / numRows), total, 0, ranked);
  const headBudget_LK = new Uint32Array(numRows).fill(window);
  let rest = total - window * numRows;
  const order = Uint32Array.from(gate_LK.keys()).sort((a, b) => gate_LK[b] - gate_LK[a] || a - b);
  for (let i = 0; rest > 0; i++) {
    const more = Math.min(rest, ranked - window);
    headBudget_LK[order[i]] += more;
    rest -= more;
  }
  return headBudget_LK;
}
