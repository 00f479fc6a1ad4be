import { toBeAllclose } from "@kvault/core/testing";
import { expect, test } from "vitest";
import { h2o } from "./h2o.ts";

expect.extend({ toBeAllclose });

/** Column sums of the rows [1], [.6 .4], [.5 .2 .3], [.4 .3 .1 .2]. */
const layer = {
  ...{ layer: 0, numLayers: 1, numKvHeads: 1, numQueryHeads: 1, seqLen: 4, headDim: 1, prefixTokens: 0 },
  windowAttention_HS: Float32Array.of(2.5, 0.9, 0.4, 0.2),
};

test("h2o divides what a position received by the tokens that could see it", () => {
  const out_KS = new Float32Array(4);
  h2o.create({}).score(layer, out_KS);
  expect(out_KS).toBeAllclose([0.625, 0.3, 0.2, 0.2], { rtol: 1e-6 });
});

test("h2o keeps recent tokens first when told to", () => {
  const out_KS = new Float32Array(4);
  h2o.create({ recent: 2 }).score(layer, out_KS);
  expect([...out_KS.keys()].sort((a, b) => out_KS[b] - out_KS[a])).toEqual([3, 2, 0, 1]);
});
