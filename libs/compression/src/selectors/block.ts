/**
 * Whole blocks of positions, aligned to the start of the sequence as pages of a paged cache
 * are: a kept block is a page as it was, and nothing has to be moved.
 *
 * Blocks are taken by mean score. With allocator `kv-compress` and the same block size, budgets
 * are whole blocks too.
 *
 * @module
 */
import { z } from "zod";
import type { SelectorFactory } from "../types.ts";
import { selectRuns } from "./runs.ts";

const params = z.strictObject({
  keep: z.number().gt(0).max(1).default(0.3).describe("fraction of ranked pairs kept, in (0, 1]"),
  size: z.int().min(1).max(4096).default(16).describe("positions of a block"),
});

export const block: SelectorFactory = {
  name: "block",
  summary: "whole page-aligned blocks of positions, by mean score",
  source: "own",
  params,
  create: (given) => {
    const { keep, size } = params.parse(given);
    return {
      keepRatio: keep,
      select: (score_S, protectedTokens, budget) => selectRuns(score_S, protectedTokens, budget, size, 0),
    };
  },
};
