/**
 * What every selector must satisfy.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Rng } from "@kvault/core";
import { gatherRagged } from "@kvault/core";
import { makeDenseLayer } from "@kvault/core/testing";
import type { Selector, SelectorFactory } from "../types.ts";
import { attentionReference } from "./attention-reference.ts";
import { type ConformanceCheck, createDefault, factoryChecks, gridValues, rngOf } from "./check.ts";

/** [seq, protected, levels of the scores]. */
const SIZES: readonly (readonly [number, number, number])[] = [
  [1, 0, 8],
  [1, 1, 8],
  [17, 4, 1000],
  [64, 0, 3],
  [33, 5, 1],
  [100, 24, 1 << 20],
];

/** Checks of one selector at its default parameters. */
export function selectorConformance(factory: SelectorFactory): ConformanceCheck[] {
  const check = (name: string, run: (selector: Selector, rng: Rng) => void): ConformanceCheck => ({
    name,
    run: () => run(createDefault(factory), rngOf(name)),
  });
  return [
    ...factoryChecks(factory),
    check("keeps the ratio its parameter says and refuses one outside (0, 1]", () => {
      for (const keep of [1e-3, 0.25, 1]) assert.equal(factory.create({ ...factory.params.parse({}), keep }).keepRatio, keep);
      for (const keep of [0, -0.5, 1.5, Number.NaN])
        assert.equal(factory.params.safeParse({ keep }).success, false, `accepted ${keep}`);
    }),
    check("selects exactly the protected positions and the budget", (selector, rng) => {
      forEachBudget(rng, (score_S, protectedTokens, budget) => {
        assert.equal(selector.select(score_S, protectedTokens, budget).length, protectedTokens + budget);
      });
    }),
    check("selects ascending positions of the context, none twice", (selector, rng) => {
      forEachBudget(rng, (score_S, protectedTokens, budget) => {
        let previous = -1;
        for (const position of selector.select(score_S, protectedTokens, budget)) {
          assert.ok(position > previous && position < score_S.length, `${position} after ${previous}`);
          previous = position;
        }
      });
    }),
    check("selects every protected position, whatever its score", (selector, rng) => {
      forEachBudget(rng, (score_S, protectedTokens, budget) => {
        const lowered = Float32Array.from(score_S).fill(-100, 0, protectedTokens);
        const position_n = selector.select(lowered, protectedTokens, budget);
        for (let s = 0; s < protectedTokens; s++) assert.equal(position_n[s], s);
      });
    }),
    check("prefers higher scores, negative ones included", (selector) => {
      for (const [low, high] of [
        [0, 1],
        [-2, -1],
        [-1, 1e-30],
        [-1e30, -1e-30],
      ] as const) {
        const score_S = new Float32Array(32).fill(low).fill(high, 16);
        assert.deepEqual([...selector.select(score_S, 0, 16)], range(16, 32));
      }
    }),
    check("keeps the lower position on ties, -0 and 0 being equal", (selector) => {
      const score_S = new Float32Array(20).fill(0.5);
      assert.deepEqual([...selector.select(score_S, 4, 7)], range(0, 11));
      for (let s = 0; s < 20; s++) score_S[s] = s % 2 === 0 ? -0 : 0;
      assert.deepEqual([...selector.select(score_S, 0, 7)], range(0, 7));
    }),
    check("gives the same positions for the same scores and leaves them as they were", (selector, rng) => {
      forEachBudget(rng, (score_S, protectedTokens, budget) => {
        const before = Float32Array.from(score_S);
        const first = selector.select(score_S, protectedTokens, budget);
        assert.deepEqual(selector.select(score_S, protectedTokens, budget), first);
        assert.deepEqual(score_S, before);
      });
    }),
    check("refuses a budget above what is ranked", (selector, rng) => {
      assert.throws(() => selector.select(gridValues(rng, 10, 100), 4, 7), RangeError);
    }),
    check("makes evicting equal to masking for any query", (selector, rng) => {
      const [numKvHeads, seqLen, headDim] = [1, 48, 8];
      for (const [protectedTokens, budget] of [
        [4, 10],
        [0, 1],
        [6, 42],
      ] as const) {
        const dense = makeDenseLayer(rng, { numKvHeads, seqLen, headDim });
        const position_n = selector.select(gridValues(rng, seqLen, 1000), protectedTokens, budget);
        const kept = gatherRagged(dense, Uint32Array.of(0, position_n.length), position_n);
        const isKept_S = Array.from({ length: seqLen }, (_, s) => position_n.includes(s));
        const query_D = Float64Array.from({ length: headDim }, () => 6 * rng.next() - 3);
        const evicted = attentionReference(query_D, kept);
        const masked = attentionReference(query_D, { key_nD: dense.key_KSD, value_nD: dense.value_KSD }, isKept_S);
        assert.equal(isKept_S.filter(Boolean).length, protectedTokens + budget);
        for (let d = 0; d < headDim; d++) assert.ok(Math.abs(evicted[d] - masked[d]) < 1e-12, `${evicted[d]} and ${masked[d]}`);
      }
    }),
  ];
}

function forEachBudget(rng: Rng, run: (score_S: Float32Array, protectedTokens: number, budget: number) => void): void {
  for (const [seqLen, protectedTokens, levels] of SIZES) {
    const ranked = seqLen - protectedTokens;
    for (const budget of new Set([0, 1, ranked >> 1, rng.below(ranked + 1), ranked - 1, ranked])) {
      if (budget >= 0 && budget <= ranked) run(gridValues(rng, seqLen, levels), protectedTokens, budget);
    }
  }
}

function range(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, i) => start + i);
}
