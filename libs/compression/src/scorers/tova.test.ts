import { expect, test } from "vitest";
import { tova } from "./tova.ts";

test("tova ranks every KV head alike, by the mean of all query heads", () => {
  const out_KS = new Float32Array(6);
  const rows = [0.6, 0.2, 0.2, 0.2, 0.4, 0.4, 0.1, 0.8, 0.1, 0.1, 0.8, 0.1];
  tova.create({}).score(
    {
      ...{ layer: 0, numLayers: 1, numKvHeads: 2, numQueryHeads: 4, seqLen: 3, headDim: 1, prefixTokens: 0 },
      windowAttention_HS: Float32Array.from(rows),
    },
    out_KS,
  );
  expect(out_KS[0]).toBeCloseTo(0.25, 6);
  expect(out_KS[1]).toBeCloseTo(0.55, 6);
  expect(out_KS[2]).toBeGreaterThan(out_KS[1] + 0.9);
  expect([...out_KS.subarray(3)]).toEqual([...out_KS.subarray(0, 3)]);
});
