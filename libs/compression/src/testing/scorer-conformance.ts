/**
 * What every scorer must satisfy.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Rng } from "@kvault/core";
import type { Scorer, ScorerFactory, ScorerLayer } from "../types.ts";
import { type ConformanceCheck, createDefault, factoryChecks, rngOf } from "./check.ts";

/** [kvHeads, seq, headDim, prefix]: single, odd, prefix of nothing and of everything. */
const SIZES: readonly (readonly [number, number, number, number])[] = [
  [1, 1, 1, 0],
  [2, 9, 4, 3],
  [3, 33, 7, 0],
  [2, 5, 2, 5],
  [4, 130, 16, 24],
];

const INPUTS = { keys: "key_KSD", values: "value_KSD", "repeat-attention": "repeatAttention_KS" } as const;

/** Checks of one scorer at its default parameters. */
export function scorerConformance(factory: ScorerFactory): ConformanceCheck[] {
  const check = (name: string, run: (scorer: Scorer, rng: Rng) => void): ConformanceCheck => ({
    name,
    run: () => run(createDefault(factory), rngOf(name)),
  });
  return [
    ...factoryChecks(factory),
    check("scores every pair with a finite number and writes nothing else", (scorer, rng) => {
      for (const sizes of SIZES) {
        const layer = randomLayer(rng, sizes);
        const count = layer.numKvHeads * layer.seqLen;
        const guarded = new Float32Array(count + 2).fill(Number.NaN);
        scorer.score(layer, guarded.subarray(1, count + 1));
        assert.ok(guarded.subarray(1, count + 1).every(Number.isFinite), `a score of [${sizes}] is not finite`);
        assert.ok(Number.isNaN(guarded[0]) && Number.isNaN(guarded[count + 1]), `wrote beside [${sizes}]`);
      }
    }),
    check("gives the same scores for the same layer, whatever it scored before", (scorer, rng) => {
      for (const sizes of SIZES) {
        const layer = randomLayer(rng, sizes);
        const first = scoreOf(scorer, layer);
        scoreOf(scorer, randomLayer(rng, SIZES[4]));
        assert.deepEqual(scoreOf(scorer, layer), first);
        assert.deepEqual(scoreOf(createDefault(factory), layer), first);
      }
    }),
    check("leaves the layer as it was", (scorer, rng) => {
      const layer = randomLayer(rng, SIZES[1]);
      const before = structuredClone(layer);
      scoreOf(scorer, layer);
      assert.deepEqual(layer, before);
    }),
    check("looks at nothing it does not declare in needs", (scorer, rng) => {
      const layer = randomLayer(rng, SIZES[4]);
      const { key_KSD: _key, value_KSD: _value, repeatAttention_KS: _repeat, ...sizes } = layer;
      const needed = Object.fromEntries([...scorer.needs].map((need) => [INPUTS[need], layer[INPUTS[need]]]));
      assert.deepEqual(scoreOf(scorer, { ...sizes, ...needed }), scoreOf(scorer, layer));
    }),
    check("refuses a layer without what it needs or with arrays of another size", (scorer, rng) => {
      const layer = randomLayer(rng, SIZES[1]);
      for (const need of scorer.needs) {
        const input = INPUTS[need];
        const { [input]: array, ...without } = layer;
        assert.throws(() => scoreOf(scorer, without), RangeError, `accepted no ${need}`);
        assert.throws(() => scoreOf(scorer, { ...layer, [input]: array?.subarray(1) }), RangeError, `accepted too few ${need}`);
      }
    }),
    check("has a repeat pass exactly when it needs repeat attention", (scorer) => {
      assert.equal(scorer.repeatPass !== undefined, scorer.needs.has("repeat-attention"));
    }),
    check("ranks its worked example as stated", (scorer) => {
      const { layer, ranking } = factory.example;
      assert.equal(layer.numKvHeads, 1, "the example has one head");
      assert.equal(ranking.length, layer.seqLen, "the example ranks every position");
      const score_S = scoreOf(scorer, layer);
      const found = [...score_S.keys()].sort((a, b) => score_S[b] - score_S[a] || a - b);
      assert.deepEqual(found, ranking);
    }),
  ];
}

function scoreOf(scorer: Scorer, layer: ScorerLayer): Float32Array {
  const out_KS = new Float32Array(layer.numKvHeads * layer.seqLen).fill(Number.NaN);
  scorer.score(layer, out_KS);
  return out_KS;
}

/** Keys and values in [-1, 1), attention in [0, 1), all inputs present. */
function randomLayer(rng: Rng, [numKvHeads, seqLen, headDim, prefixTokens]: (typeof SIZES)[number]): ScorerLayer {
  const count = numKvHeads * seqLen;
  const signed = (): Float32Array => Float32Array.from({ length: count * headDim }, () => 2 * rng.next() - 1);
  return {
    layer: rng.below(4),
    numLayers: 4,
    numKvHeads,
    seqLen,
    headDim,
    prefixTokens,
    key_KSD: signed(),
    value_KSD: signed(),
    repeatAttention_KS: Float32Array.from({ length: count }, () => rng.next()),
  };
}
