import fc from "fast-check";
import { expect, test } from "vitest";
import { createDefault } from "../testing/check.ts";
import { global } from "./global.ts";
import { kvCompress, pageCosts } from "./kv-compress.ts";

test("kv-compress prices a page by the most valuable pair it loses", () => {
  expect([...pageCosts(Float32Array.of(1, 5, 2, 9, 3, 4), 2, 2)]).toEqual([2, 4, 9]);
  expect([...pageCosts(Float32Array.of(6, 7, 8, 2, 10, 11), 2, 2)]).toEqual([6, 8, 11]);
});

test("kv-compress frees the cheapest pages: twice A, once B", () => {
  const score_LKS = Float32Array.of(1, 5, 2, 9, 3, 4, 6, 7, 8, 2, 10, 11);
  const scores = { numLayers: 1, numKvHeads: 2, headDim: 1, seqLen: 6, score_LKS };
  expect([...kvCompress.create({ block: 2 }).allocate(scores, 0, 6)]).toEqual([2, 4]);
});

const sizes = fc.record({
  rows: fc.integer({ min: 1, max: 5 }),
  seqLen: fc.integer({ min: 1, max: 40 }),
  protectedShare: fc.double({ min: 0, max: 1, noNaN: true }),
  keep: fc.double({ min: 0, max: 1, noNaN: true }),
});
const grid = fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 200, maxLength: 200 });

test("kv-compress fills whole pages in every head but one", () => {
  fc.assert(
    fc.property(sizes, grid, ({ rows, seqLen, protectedShare, keep }, values) => {
      const protectedTokens = Math.floor(protectedShare * seqLen);
      const score_LKS = Float32Array.from(values.slice(0, rows * seqLen));
      const total = Math.floor(keep * rows * (seqLen - protectedTokens));
      const scores = { numLayers: 1, numKvHeads: rows, headDim: 1, seqLen, score_LKS };
      const budget = kvCompress.create({ block: 4 }).allocate(scores, protectedTokens, total);
      const broken = budget.filter(
        (count) => count > 0 && count < seqLen - protectedTokens && (count + protectedTokens) % 4 !== 0,
      );
      expect(broken.length).toBeLessThanOrEqual(1);
    }),
    { numRuns: 300 },
  );
});

test("kv-compress with pages of one pair is global", () => {
  fc.assert(
    fc.property(sizes, grid, ({ rows, seqLen, protectedShare, keep }, values) => {
      const protectedTokens = Math.floor(protectedShare * seqLen);
      const score_LKS = Float32Array.from(values.slice(0, rows * seqLen));
      const total = Math.floor(keep * rows * (seqLen - protectedTokens));
      const scores = { numLayers: 1, numKvHeads: rows, headDim: 1, seqLen, score_LKS };
      const expected = createDefault(global).allocate(scores, protectedTokens, total);
      expect(kvCompress.create({ block: 1 }).allocate(scores, protectedTokens, total)).toEqual(expected);
    }),
    { numRuns: 300 },
  );
});
