import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { topK } from "../selectors/top-k.ts";
import { createDefault } from "../testing/check.ts";
import { global } from "./global.ts";

const { allocate } = createDefault(global);
const { select } = createDefault(topK);

/** Flat indices of the best `total` of all ranked pairs by sorting: ties to the lowest layer, head, position. */
function globalTopKReference(score_LKS: Float32Array, seqLen: number, protectedTokens: number, total: number): number[] {
  const ranked = [...score_LKS.keys()].filter((i) => i % seqLen >= protectedTokens);
  return ranked
    .sort((a, b) => score_LKS[b] - score_LKS[a] || a - b)
    .slice(0, total)
    .sort((a, b) => a - b);
}

describe("global", () => {
  test("with top-k per head is top-k over the whole cache, ties and negative scores included", () => {
    const sizes = fc.record({
      numLayers: fc.integer({ min: 1, max: 3 }),
      numKvHeads: fc.integer({ min: 1, max: 3 }),
      seqLen: fc.integer({ min: 1, max: 12 }),
    });
    fc.assert(
      fc.property(
        sizes,
        fc.nat(),
        fc.nat(),
        fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 108, maxLength: 108 }),
        (size, p, t, grid) => {
          const { numLayers, numKvHeads, seqLen } = size;
          const numRows = numLayers * numKvHeads;
          const protectedTokens = p % (seqLen + 1);
          const total = t % (numRows * (seqLen - protectedTokens) + 1);
          const score_LKS = Float32Array.from(grid.slice(0, numRows * seqLen), (x) => x / 3);
          const headBudget_LK = allocate({ ...size, headDim: 1, score_LKS }, protectedTokens, total);
          const found: number[] = [];
          for (let row = 0; row < numRows; row++) {
            const score_S = score_LKS.subarray(row * seqLen, (row + 1) * seqLen);
            for (const s of select(score_S, protectedTokens, headBudget_LK[row]))
              if (s >= protectedTokens) found.push(row * seqLen + s);
          }
          expect(found).toEqual(globalTopKReference(score_LKS, seqLen, protectedTokens, total));
        },
      ),
      { numRuns: 300 },
    );
  });

  test("may leave a head with nothing", () => {
    const score_LKS = Float32Array.of(0.1, 0.2, 0.8, 0.9);
    expect([...allocate({ numLayers: 2, numKvHeads: 1, seqLen: 2, headDim: 1, score_LKS }, 0, 2)]).toEqual([0, 2]);
  });
});
