import { toBeAllclose } from "@kvault/core/testing";
import { expect, test } from "vitest";
import { kvcompose } from "./kvcompose.ts";

expect.extend({ toBeAllclose });

test("kvcompose adds the layer's mean to every head, the prefix stays at 0", () => {
  const layer = {
    ...{ layer: 0, numLayers: 1, numKvHeads: 2, seqLen: 3, headDim: 1, prefixTokens: 1 },
    repeatAttention_KS: Float32Array.of(0.9, 0.4, 0.1, 0.9, 0.2, 0.5),
  };
  const out_KS = new Float32Array(6);
  kvcompose.create({}).score(layer, out_KS);
  expect(out_KS).toBeAllclose([0, 0.7, 0.4, 0, 0.5, 0.8]);
});
