import { expect, test } from "vitest";
import { selectPairs } from "../pipeline.ts";
import { resolveSpec } from "../plan.ts";

function keptOf(scores: readonly number[], keep: number): number[] {
  const source = { numLayers: 1, numKvHeads: 1, headDim: 1, seqLen: scores.length, prefixTokens: 0 };
  const plan = resolveSpec(`kvzip|global|reference-strict(keep=${keep})|f16`);
  const layer = (): { repeatAttention_KS: Float32Array; layer: number } & typeof source => ({
    ...{ ...source, layer: 0 },
    repeatAttention_KS: Float32Array.from(scores),
  });
  return [...selectPairs(plan, { ...source, layer }).position_n];
}

test("reference-strict keeps one pair less than asked, of distinct scores", () => {
  expect(keptOf([0.1, 0.9, 0.3, 0.7, 0.2, 0.8, 0.4, 0.5, 0.6, 0.05], 0.3)).toEqual([1, 5]);
});

test("reference-strict keeps nothing where the threshold ties with the largest, and all of everything", () => {
  expect(keptOf([1, 1, 1, 0.5], 0.5)).toEqual([]);
  expect(keptOf([0.3, 0.1], 0.5)).toEqual([]);
  expect(keptOf([1, 1, 0.5], 1)).toEqual([0, 1, 2]);
});
