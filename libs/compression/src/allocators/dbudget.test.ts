import { createRng } from "@kvault/core";
import { expect, test } from "vitest";
import { reportSelection, selectPairs } from "../pipeline.ts";
import { resolveSpec } from "../plan.ts";
import { dbudget } from "./dbudget.ts";

const scores = {
  ...{ numLayers: 1, numKvHeads: 2, headDim: 1, seqLen: 5 },
  // Of head 0, .1 is lost with its two least; of head 1, all count the same.
  score_LKS: Float32Array.of(0.05, 0.5, 0.05, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2),
};

test("dbudget keeps pairs until a share of the head's mass is lost", () => {
  const { allocate, chooseTotal } = dbudget.create({ loss: 0.15 });
  expect(chooseTotal?.(scores, 0, 10)).toBe(3 + 5);
  expect([...allocate(scores, 0, 8)]).toEqual([3, 5]);
});

test("dbudget loses nothing for a loss of nothing, and ever more for more", () => {
  const rng = createRng(4);
  const random = { ...scores, score_LKS: Float32Array.from({ length: 10 }, () => (rng.below(3) === 0 ? 0 : rng.next())) };
  const totals = [0, 0.01, 0.1, 0.3, 0.8, 1].map((loss) => dbudget.create({ loss }).chooseTotal?.(random, 0, 10) ?? -1);
  expect(totals[0]).toBe(10);
  for (let i = 1; i < totals.length; i++) expect(totals[i]).toBeLessThanOrEqual(totals[i - 1]);
});

test("dbudget is bounded by the keep ratio and reports what it kept", () => {
  const source = { numLayers: 1, numKvHeads: 2, headDim: 1, seqLen: 5, prefixTokens: 0 };
  const layer = (): Parameters<ReturnType<typeof resolveSpec>["scorer"]["score"]>[0] => ({
    ...{ ...source, layer: 0 },
    repeatAttention_KS: scores.score_LKS,
  });
  const kept = (keep: number): number =>
    reportSelection(selectPairs(resolveSpec(`kvzip|dbudget(loss=0.15)|top-k(keep=${keep})|f16`), { ...source, layer })).keptPairs;
  expect(kept(1)).toBe(8);
  expect(kept(0.5)).toBe(5);
});
