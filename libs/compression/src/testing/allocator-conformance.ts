/**
 * What every allocator must satisfy.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Rng } from "@kvault/core";
import type { Allocator, AllocatorFactory, ScoreSet } from "../types.ts";
import { type ConformanceCheck, createDefault, factoryChecks, gridValues, rngOf } from "./check.ts";

/** [layers, kvHeads, seq, protected, levels of the scores]: few levels make ties, one makes nothing but. */
const SIZES: readonly (readonly [number, number, number, number, number])[] = [
  [1, 1, 1, 0, 8],
  [2, 3, 17, 4, 1000],
  [3, 2, 40, 0, 3],
  [4, 1, 9, 2, 1],
  [2, 2, 6, 6, 8],
  [5, 4, 64, 24, 1 << 20],
];

/** Checks of one allocator at its default parameters. */
export function allocatorConformance(factory: AllocatorFactory): ConformanceCheck[] {
  const check = (name: string, run: (allocator: Allocator, rng: Rng) => void): ConformanceCheck => ({
    name,
    run: () => run(createDefault(factory), rngOf(name)),
  });
  return [
    ...factoryChecks(factory),
    check("hands out exactly the total, one count per layer and head", (allocator, rng) => {
      forEachTotal(rng, (scores, protectedTokens, total) => {
        const headBudget_LK = allocator.allocate(scores, protectedTokens, total);
        assert.equal(headBudget_LK.length, scores.numLayers * scores.numKvHeads);
        assert.equal(sum(headBudget_LK), total);
      });
    }),
    check("gives no head more pairs than it has ranked", (allocator, rng) => {
      forEachTotal(rng, (scores, protectedTokens, total) => {
        const headBudget_LK = allocator.allocate(scores, protectedTokens, total);
        assert.ok(headBudget_LK.every((budget) => budget <= scores.seqLen - protectedTokens));
      });
    }),
    check("takes nothing but a rounded pair or two from a head when the total grows", (allocator, rng) => {
      for (const sizes of SIZES) {
        const { scores, protectedTokens, ranked } = randomScores(rng, sizes);
        let smaller = allocator.allocate(scores, protectedTokens, 0);
        for (let total = 1; total <= ranked; total++) {
          const larger = allocator.allocate(scores, protectedTokens, total);
          assert.ok(
            smaller.every((budget, row) => budget <= larger[row] + 2),
            `a head lost pairs at ${total} of ${ranked}`,
          );
          smaller = larger;
        }
      }
    }),
    check("gives the same counts for the same scores and leaves them as they were", (allocator, rng) => {
      forEachTotal(rng, (scores, protectedTokens, total) => {
        const before = Float32Array.from(scores.score_LKS);
        const first = allocator.allocate(scores, protectedTokens, total);
        assert.deepEqual(allocator.allocate(scores, protectedTokens, total), first);
        assert.deepEqual(scores.score_LKS, before);
      });
    }),
    check("ignores the scores of protected positions", (allocator, rng) => {
      forEachTotal(rng, (scores, protectedTokens, total) => {
        const disturbed = Float32Array.from(scores.score_LKS);
        for (let i = 0; i < disturbed.length; i++) if (i % scores.seqLen < protectedTokens) disturbed[i] = 100 * rng.next() - 50;
        assert.deepEqual(
          allocator.allocate({ ...scores, score_LKS: disturbed }, protectedTokens, total),
          allocator.allocate(scores, protectedTokens, total),
        );
      });
    }),
    check("refuses a total above what is ranked and scores without the profile it names", (allocator, rng) => {
      const { scores, protectedTokens, ranked } = randomScores(rng, SIZES[1]);
      assert.throws(() => allocator.allocate(scores, protectedTokens, ranked + 1), RangeError);
      if (allocator.profile !== undefined) {
        assert.throws(() => allocator.allocate({ ...scores, profile: {} }, protectedTokens, 1), RangeError);
      }
    }),
    check("gives all heads of a layer the same, but for one pair, where it says so", (allocator, rng) => {
      forEachTotal(rng, (scores, protectedTokens, total) => {
        const headBudget_LK = allocator.allocate(scores, protectedTokens, total);
        for (let l = 0; allocator.levelsHeads && l < scores.numLayers; l++) {
          const heads = headBudget_LK.subarray(l * scores.numKvHeads, (l + 1) * scores.numKvHeads);
          assert.ok(Math.max(...heads) - Math.min(...heads) <= 1, `layer ${l}: ${heads}`);
        }
      });
    }),
    check("lets a layer read itself or an earlier one that reads itself, where it says so", (allocator, rng) => {
      forEachTotal(rng, (scores) => {
        const source_L = allocator.sourceLayers?.(scores) ?? Uint32Array.from({ length: scores.numLayers }, (_, l) => l);
        assert.equal(source_L.length, scores.numLayers);
        for (const [l, source] of source_L.entries())
          assert.ok(source <= l && source_L[source] === source, `${l} reads ${source}`);
      });
    }),
    check("chooses a total, where it does, of at most what it may", (allocator, rng) => {
      forEachTotal(rng, (scores, protectedTokens, total) => {
        const chosen = allocator.chooseTotal?.(scores, protectedTokens, total) ?? total;
        assert.ok(Number.isInteger(chosen) && chosen >= 0 && chosen <= total, `chose ${chosen} of ${total}`);
      });
    }),
  ];
}

function forEachTotal(rng: Rng, run: (scores: ScoreSet, protectedTokens: number, total: number) => void): void {
  for (const sizes of SIZES) {
    const { scores, protectedTokens, ranked } = randomScores(rng, sizes);
    for (const total of new Set([0, 1, ranked >> 1, rng.below(ranked + 1), ranked - 1, ranked])) {
      if (total >= 0 && total <= ranked) run(scores, protectedTokens, total);
    }
  }
}

function randomScores(
  rng: Rng,
  [numLayers, numKvHeads, seqLen, protectedTokens, levels]: (typeof SIZES)[number],
): { scores: ScoreSet; protectedTokens: number; ranked: number } {
  const numRows = numLayers * numKvHeads;
  const score_LKS = gridValues(rng, numRows * seqLen, levels);
  const unsigned = (length: number): Float32Array => Float32Array.from({ length }, () => rng.next());
  const profile = {
    "layer-errors": unsigned(numLayers),
    "kvzip-heads": unsigned(numRows),
    "baklava-heads": unsigned(numRows),
    "duo-heads": unsigned(numRows),
    "layer-map": Float32Array.from({ length: numLayers }, (_, l) => (l === 2 ? 0 : l)),
  };
  return {
    scores: { numLayers, numKvHeads, headDim: 4, seqLen, score_LKS, profile },
    protectedTokens,
    ranked: numRows * (seqLen - protectedTokens),
  };
}

function sum(counts: Uint32Array): number {
  let total = 0;
  for (let i = 0; i < counts.length; i++) total += counts[i];
  return total;
}
