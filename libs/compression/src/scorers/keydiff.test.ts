import { toBeAllclose } from "@kvault/core/testing";
import { expect, test } from "vitest";
import { keydiff } from "./keydiff.ts";

expect.extend({ toBeAllclose });

test("keydiff is minus the cosine to the mean of the unit keys", () => {
  const out_KS = new Float32Array(4);
  const key_KSD = Float32Array.of(3, 0, 0.5, 0, 0, 2, 2, 1);
  const layer = { layer: 0, numLayers: 1, numKvHeads: 1, seqLen: 4, headDim: 2, prefixTokens: 0, key_KSD };
  keydiff.create({}).score(layer, out_KS);
  // Anchor [.7236, .3618].
  expect(out_KS).toBeAllclose([-0.8944, -0.8944, -0.4472, -1], { rtol: 0, atol: 5e-5 });
});
