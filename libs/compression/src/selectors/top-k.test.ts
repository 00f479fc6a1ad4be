import fc from "fast-check";
import { expect, test } from "vitest";
import { createDefault } from "../testing/check.ts";
import { topK } from "./top-k.ts";

const { select } = createDefault(topK);

function topKReference(score_S: Float32Array, protectedTokens: number, budget: number): number[] {
  const positions = [...score_S.keys()];
  const best = positions.slice(protectedTokens).sort((a, b) => score_S[b] - score_S[a] || a - b);
  return [...positions.slice(0, protectedTokens), ...best.slice(0, budget)].sort((a, b) => a - b);
}

test("top-k selects what sorting selects", () => {
  const scores = fc.array(fc.oneof(fc.float({ noNaN: true }), fc.constantFrom(0, -0, 0.5)), { maxLength: 80 });
  fc.assert(
    fc.property(scores, fc.nat(), fc.nat(), (list, p, b) => {
      const score_S = Float32Array.from(list);
      const protectedTokens = p % (list.length + 1);
      const budget = b % (list.length - protectedTokens + 1);
      expect([...select(score_S, protectedTokens, budget)]).toEqual(topKReference(score_S, protectedTokens, budget));
    }),
    { numRuns: 500 },
  );
});

test("top-k works on scores that are a view into a larger array", () => {
  const score_LKS = Float32Array.of(9, 9, 9, 1, 3, 2, 9, 9);
  expect([...select(score_LKS.subarray(3, 6), 0, 2)]).toEqual([1, 2]);
});
