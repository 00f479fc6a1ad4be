import { expect, test } from "vitest";
import { selectPairs } from "../pipeline.ts";
import { resolveSpec } from "../plan.ts";

test("kvzip-head with a global budget keeps whole heads, best first", () => {
  const plan = resolveSpec("kvzip-head|global|top-k(keep=0.6)|f16");
  const sizes = { numLayers: 2, numKvHeads: 2, headDim: 1, seqLen: 5, prefixTokens: 0 };
  const profile = { "kvzip-heads": Float32Array.of(0.2, 0.9, 1, 0.5) };
  const { offset_LK } = selectPairs(plan, { ...sizes, layer: (layer) => ({ ...sizes, layer, profile }) });
  expect([...plan.profiles]).toEqual(["kvzip-heads"]);
  expect([...offset_LK]).toEqual([0, 0, 5, 10, 12]);
});
