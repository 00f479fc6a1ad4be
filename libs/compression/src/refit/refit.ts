/**
 * The refit stage as a spec names it: `refit(queries=own,m=1000,ridge=0.03,steps=4)`.
 *
 * `queries`: `own` are the context's own, computed in prefill anyway (better for retrieval);
 * `repeat` are the repeat pass's (better for likelihood); `both` is half of each. The last two
 * need a scorer that makes the repeat pass.
 *
 * @module
 */
import { z } from "zod";
import type { RefitFactory } from "../types.ts";
import { refitValues } from "./value-refit.ts";

const params = z.strictObject({
  queries: z
    .enum(["own", "repeat", "both"])
    .default("own")
    .describe("whose queries: the context's, the repeat pass's, half of each"),
  m: z.int().min(1).max(65_536).default(1000).describe("sampled queries per KV head"),
  ridge: z.number().gt(0).max(1e6).default(0.03).describe("regularisation, relative to the mean diagonal"),
  steps: z.int().min(1).max(100).default(4).describe("conjugate-gradient steps"),
});

export const refit: RefitFactory = {
  name: "refit",
  summary: "kept values changed so that attention puts out what it did over the whole context",
  source: "own",
  params,
  create: (given) => {
    const { queries, m, ridge, steps } = params.parse(given);
    return { queries, numQueries: m, refitValues: (layer, matMul) => refitValues(layer, { ridge, steps }, matMul) };
  },
};
