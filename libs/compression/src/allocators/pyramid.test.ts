import fc from "fast-check";
import { expect, test } from "vitest";
import { pyramid } from "./pyramid.ts";

function budgetsOf(params: Record<string, unknown>, numLayers: number, numKvHeads: number, seqLen: number, total: number) {
  const score_LKS = new Float32Array(numLayers * numKvHeads * seqLen);
  return [...pyramid.create(params).allocate({ numLayers, numKvHeads, headDim: 1, seqLen, score_LKS }, 0, total)];
}

/** The authors' budgets, floored steps and all. */
function pyramidReference(L: number, cap: number, window: number, seqLen: number, beta: number): number[] {
  const base = cap - window;
  let min = Math.floor(base / beta);
  let max = 2 * base - min;
  if (max >= seqLen - window) {
    max = seqLen - window;
    min = 2 * base - max;
  }
  const step = Math.floor((max - min) / (L - 1));
  return Array.from({ length: L }, (_, l) => max - l * step + window);
}

test("pyramid of the paper's sizes has the authors' first layer and an exact sum", () => {
  const found = budgetsOf({ window: 8 }, 32, 1, 8000, 512 * 32);
  expect(pyramidReference(32, 512, 8, 8000, 20).slice(0, 2)).toEqual([991, 961]);
  expect(found[0]).toBe(991);
  expect(found[31]).toBe(33);
  expect(found.reduce((a, b) => a + b)).toBe(512 * 32);
});

test("pyramid is the authors' but for their floored steps, and never grows from layer to layer", () => {
  const sizes = fc.record({
    L: fc.integer({ min: 2, max: 40 }),
    K: fc.integer({ min: 1, max: 3 }),
    window: fc.integer({ min: 0, max: 16 }),
    cap: fc.integer({ min: 17, max: 300 }),
    more: fc.integer({ min: 0, max: 400 }),
  });
  fc.assert(
    fc.property(sizes, ({ L, K, window, cap, more }) => {
      const seqLen = cap + more;
      const found = budgetsOf({ window }, L, K, seqLen, cap * L * K);
      const reference = pyramidReference(L, cap, window, seqLen, 20);
      for (let row = 0; row < L * K; row++) {
        const l = Math.floor(row / K);
        expect(Math.abs(found[row] - reference[l])).toBeLessThanOrEqual(l + 3);
        if (l > 0) expect(found[row]).toBeLessThanOrEqual(found[row - K]);
      }
    }),
  );
});

test("pyramid of less than the window is uniform", () => {
  expect(budgetsOf({ window: 64 }, 3, 2, 200, 6 * 40)).toEqual([40, 40, 40, 40, 40, 40]);
});
