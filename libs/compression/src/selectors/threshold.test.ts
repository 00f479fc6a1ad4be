import { expect, test } from "vitest";
import { reportSelection, selectPairs } from "../pipeline.ts";
import { resolveSpec } from "../plan.ts";

const source = { numLayers: 1, numKvHeads: 2, headDim: 1, seqLen: 5, prefixTokens: 1 };
const surrogate_KS = Float32Array.of(9, -1, -5, -4, -9, 9, -8, -3, -7, -3.9);

function keptOf(spec: string): number[][] {
  const plan = resolveSpec(spec);
  const { offset_LK, position_n } = selectPairs(plan, { ...source, layer: (layer) => ({ ...source, layer, surrogate_KS }) });
  return [0, 1].map((k) => [...position_n.subarray(offset_LK[k], offset_LK[k + 1])]);
}

test("threshold keeps what scores at least so much, and the prefix", () => {
  expect(keptOf("surrogate|global|threshold(at=-4)|f16")).toEqual([
    [0, 1, 3],
    [0, 2, 4],
  ]);
});

test("threshold keeps the best under its ceiling, and everything above a very low score", () => {
  expect(keptOf("surrogate|global|threshold(at=-4,keep=0.25)|f16")).toEqual([
    [0, 1],
    [0, 2],
  ]);
  expect(keptOf("surrogate|global|threshold(at=-100)|f16").flat()).toHaveLength(10);
  expect(keptOf("surrogate|global|threshold(at=100)|f16")).toEqual([[0], [0]]);
});

test("threshold reports the ratio that came of it", () => {
  const plan = resolveSpec("surrogate|global|threshold(at=-4)|f16");
  const selection = selectPairs(plan, { ...source, layer: (layer) => ({ ...source, layer, surrogate_KS }) });
  expect([plan.keepRatio, reportSelection(selection).keepRatio]).toEqual([1, 0.5]);
});
