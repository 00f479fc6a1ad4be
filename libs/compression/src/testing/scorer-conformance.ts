/**
 * What every scorer must satisfy.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Rng } from "@kvault/core";
import type { Scorer, ScorerFactory, ScorerLayer, ScorerNeed } from "../types.ts";
import { type ConformanceCheck, createDefault, factoryChecks, rngOf } from "./check.ts";

/** [kvHeads, seq, headDim, prefix]: single, odd, prefix of nothing and of everything. */
const SIZES: readonly (readonly [number, number, number, number])[] = [
  [1, 1, 1, 0],
  [2, 9, 4, 3],
  [3, 33, 7, 0],
  [2, 5, 2, 5],
  [4, 130, 16, 24],
];

/** The arrays of each need. */
const INPUTS = {
  keys: ["key_KSD"],
  values: ["value_KSD"],
  "repeat-attention": ["repeatAttention_KS"],
  "window-attention": ["windowAttention_HS"],
  "query-moments": ["queryMean_HD", "queryCovariance_HDD", "ropeFrequencies"],
  surrogate: ["surrogate_KS"],
} as const satisfies Record<ScorerNeed, readonly (keyof ScorerLayer)[]>;

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
      const needed: Record<string, unknown> = { ...layer };
      for (const need of Object.keys(INPUTS) as ScorerNeed[]) {
        if (!scorer.needs.has(need)) for (const input of INPUTS[need]) delete needed[input];
      }
      if (scorer.profile === undefined) delete needed["profile"];
      assert.deepEqual(scoreOf(scorer, needed as unknown as ScorerLayer), scoreOf(scorer, layer));
    }),
    check("refuses a layer without what it needs or with arrays of another size", (scorer, rng) => {
      const layer = randomLayer(rng, SIZES[1]);
      for (const need of scorer.needs) {
        for (const input of INPUTS[need]) {
          const { [input]: array, ...without } = layer;
          assert.throws(() => scoreOf(scorer, without), RangeError, `accepted no ${input}`);
          assert.throws(
            () => scoreOf(scorer, { ...layer, [input]: array?.subarray(1) }),
            RangeError,
            `accepted too few ${input}`,
          );
        }
      }
      if (scorer.profile !== undefined) {
        assert.throws(() => scoreOf(scorer, { ...layer, profile: {} }), RangeError, `accepted no ${scorer.profile}`);
      }
    }),
    check("says how to gather what it needs, and nothing else", (scorer) => {
      assert.equal(scorer.repeatPass !== undefined, scorer.needs.has("repeat-attention"));
      assert.equal(scorer.windowTokens !== undefined, scorer.needs.has("window-attention"));
      assert.equal(scorer.momentsFrom !== undefined, scorer.needs.has("query-moments"));
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

/** Keys, values and queries in [-1, 1), attention in [0, 1), all inputs present; two query heads a KV head. */
function randomLayer(rng: Rng, [numKvHeads, seqLen, headDim, prefixTokens]: (typeof SIZES)[number]): ScorerLayer {
  const count = numKvHeads * seqLen;
  const numLayers = 4;
  const numQueryHeads = 2 * numKvHeads;
  const unsigned = (length: number): Float32Array => Float32Array.from({ length }, () => rng.next());
  const signed = (length: number): Float32Array => Float32Array.from({ length }, () => 2 * rng.next() - 1);
  return {
    layer: rng.below(numLayers),
    numLayers,
    numKvHeads,
    seqLen,
    headDim,
    prefixTokens,
    key_KSD: signed(count * headDim),
    value_KSD: signed(count * headDim),
    repeatAttention_KS: unsigned(count),
    numQueryHeads,
    windowAttention_HS: unsigned(numQueryHeads * seqLen),
    queryMean_HD: signed(numQueryHeads * headDim),
    queryCovariance_HDD: unsigned(numQueryHeads * headDim * headDim),
    ropeFrequencies: Float64Array.from({ length: headDim >> 1 }, (_, i) => 10_000 ** ((-2 * i) / headDim)),
    surrogate_KS: signed(count),
    profile: {
      "retrieval-heads": unsigned(numLayers * numQueryHeads),
      "layer-errors": unsigned(numLayers),
      "kvzip-heads": unsigned(numLayers * numKvHeads),
      "baklava-heads": unsigned(numLayers * numKvHeads),
      "duo-heads": unsigned(numLayers * numKvHeads),
    },
  };
}
