/**
 * ChunkKV: whole chunks of text rather than single tokens, the same for every head of a layer.
 *
 * Chunks of `size` tokens are counted from the end of the prefix and taken by mean score.
 * Paper: arXiv:2502.00299. With `shared` (the paper's way) heads are scored by their layer's
 * mean and keep the same chunks, so a layer stays rectangular.
 *
 * @module
 */
import { z } from "zod";
import type { SelectorFactory } from "../types.ts";
import { selectRuns } from "./runs.ts";

const params = z.strictObject({
  keep: z.number().gt(0).max(1).default(0.3).describe("fraction of ranked pairs kept, in (0, 1]"),
  size: z.int().min(1).max(65_536).default(20).describe("tokens of a chunk"),
  shared: z.boolean().default(true).describe("the same positions for every head of a layer"),
});

export const chunk: SelectorFactory = {
  name: "chunk",
  summary: "whole chunks of neighbouring tokens, by mean score",
  source: "arXiv:2502.00299",
  params,
  create: (given) => {
    const { keep, size, shared } = params.parse(given);
    return {
      keepRatio: keep,
      ...(shared ? { sharesLayer: true } : {}),
      select: (score_S, protectedTokens, budget) => selectRuns(score_S, protectedTokens, budget, size, protectedTokens),
    };
  },
};
