/**
 * One list of positions per layer: every head keeps the pairs that the layer's mean score
 * ranks first. Layers stay rectangular and their positions are stored once in effect (equal
 * rows compress). Means of what heads want serve no head as well as its own choice.
 *
 * @module
 */
import { z } from "zod";
import type { SelectorFactory } from "../types.ts";
import { selectTopK } from "./top-k.ts";

const params = z.strictObject({
  keep: z.number().gt(0).max(1).default(0.3).describe("fraction of ranked pairs kept, in (0, 1]"),
});

export const shared: SelectorFactory = {
  name: "shared",
  summary: "the same positions for every head of a layer, by mean score",
  source: "own",
  params,
  create: (given) => ({ keepRatio: params.parse(given).keep, sharesLayer: true, select: selectTopK }),
};
