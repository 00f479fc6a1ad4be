import { expect, test } from "vitest";
import { surrogate } from "./surrogate.ts";

test("surrogate passes predictions on and keeps recent tokens first", () => {
  const layer = {
    ...{ layer: 0, numLayers: 1, numKvHeads: 2, seqLen: 4, headDim: 1, prefixTokens: 1 },
    surrogate_KS: Float32Array.of(-9, -2, -1, -3, -9, -4, -6, -5),
  };
  const out_KS = new Float32Array(8);
  surrogate.create({}).score(layer, out_KS);
  expect([...out_KS]).toEqual([0, -2, -1, -3, 0, -4, -6, -5]);
  surrogate.create({ recent: 2 }).score(layer, out_KS);
  expect([...out_KS]).toEqual([0, -2, 1, 1.5, 0, -4, 1, 1.5]);
});
