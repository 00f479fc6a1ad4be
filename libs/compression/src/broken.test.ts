/** A conformance suite is worth what it catches: each is run against parts broken on purpose. */
import { encodeF16 } from "@kvault/core";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { global } from "./allocators/global.ts";
import { f16 } from "./codecs/f16.ts";
import { f32 } from "./codecs/f32.ts";
import { int8 } from "./codecs/int8.ts";
import { kvzip } from "./scorers/kvzip.ts";
import { l2norm } from "./scorers/l2norm.ts";
import { topK } from "./selectors/top-k.ts";
import { allocatorConformance } from "./testing/allocator-conformance.ts";
import { type ConformanceCheck, createDefault, failingChecks } from "./testing/check.ts";
import { codecConformance } from "./testing/codec-conformance.ts";
import { scorerConformance } from "./testing/scorer-conformance.ts";
import { selectorConformance } from "./testing/selector-conformance.ts";
import type {
  Allocator,
  AllocatorFactory,
  Codec,
  CodecFactory,
  NamedTensor,
  PartFactory,
  Scorer,
  ScorerFactory,
  ScorerLayer,
  Selector,
  SelectorFactory,
} from "./types.ts";

/** What is broken, the broken factory, and the check that must notice. */
type Broken<Factory> = readonly [what: string, factory: Factory, caughtBy: string];

function suite<Factory>(
  name: string,
  conformance: (factory: Factory) => ConformanceCheck[],
  sound: Factory,
  broken: Broken<Factory>[],
) {
  describe(name, () => {
    test("passes a sound part", () => {
      expect(failingChecks(conformance(sound))).toEqual([]);
    });
    test.each(broken)("catches %s", (_what, factory, caughtBy) => {
      expect(failingChecks(conformance(factory))).toContain(caughtBy);
    });
    test("has no check that nothing here fails", () => {
      const needed = conformance(sound).map((check) => check.name);
      expect(new Set(broken.map(([, , caughtBy]) => caughtBy))).toEqual(new Set(needed));
    });
  });
}

const NAMED = "has a name of lower-case words, a summary and a source";
const PARAMS = "has a description and a default for every parameter and refuses unknown ones";

function brokenFactories<Factory extends PartFactory<unknown>>(sound: Factory): Broken<Factory>[] {
  return [
    ["a name with a capital", { ...sound, name: "TopK" }, NAMED],
    ["an empty source", { ...sound, source: "" }, NAMED],
    ["a parameter without description", { ...sound, params: z.strictObject({ x: z.number().default(1) }) }, PARAMS],
    ["a parameter without default", { ...sound, params: z.strictObject({ x: z.number().describe("x") }) }, PARAMS],
    ["unknown parameters dropped silently", { ...sound, params: z.object({}) }, PARAMS],
  ];
}

const soundScore = createDefault(l2norm).score;
const scorerWith = (scorer: Partial<Scorer>): ScorerFactory => ({
  ...l2norm,
  create: () => ({ ...createDefault(l2norm), ...scorer }),
});
/** Sound scores, then something that should not be. */
const scoresThen = (spoil: (layer: ScorerLayer, out_KS: Float32Array) => void): ScorerFactory =>
  scorerWith({
    score: (layer, out_KS) => {
      soundScore(layer, out_KS);
      spoil(layer, out_KS);
    },
  });
let calls = 0;

suite<ScorerFactory>("scorerConformance()", scorerConformance, l2norm, [
  ...brokenFactories(l2norm),
  [
    "NaN where there is no prefix",
    scoresThen(({ prefixTokens }, out_KS) => {
      if (prefixTokens === 0) out_KS[0] = Number.NaN;
    }),
    "scores every pair with a finite number and writes nothing else",
  ],
  [
    "the last head left out",
    scorerWith({
      score: (layer, out_KS) => {
        const headless = { ...layer, numKvHeads: layer.numKvHeads - 1 };
        const { key_KSD: keys } = layer;
        if (keys !== undefined) headless.key_KSD = keys.subarray(layer.seqLen * layer.headDim);
        soundScore(headless, out_KS);
      },
    }),
    "scores every pair with a finite number and writes nothing else",
  ],
  [
    "a score written beside its own",
    scoresThen((_layer, out_KS) => {
      new Float32Array(out_KS.buffer).fill(0);
    }),
    "scores every pair with a finite number and writes nothing else",
  ],
  [
    "scores that drift from call to call",
    scoresThen((_layer, out_KS) => {
      calls += 1;
      out_KS[0] += calls;
    }),
    "gives the same scores for the same layer, whatever it scored before",
  ],
  [
    "keys overwritten",
    scoresThen(({ key_KSD }) => {
      key_KSD?.fill(0);
    }),
    "leaves the layer as it was",
  ],
  [
    "a need that is not declared",
    scoresThen(({ value_KSD }, out_KS) => {
      out_KS[0] += value_KSD?.[0] ?? 0;
    }),
    "looks at nothing it does not declare in needs",
  ],
  [
    "missing keys taken for zeros",
    scorerWith({
      score: (layer, out_KS) => {
        if (layer.key_KSD === undefined) out_KS.fill(0);
        else soundScore(layer, out_KS);
      },
    }),
    "refuses a layer without what it needs or with arrays of another size",
  ],
  [
    "a repeat pass that nothing needs",
    scorerWith({ repeatPass: createDefault(kvzip).repeatPass! }),
    "says how to gather what it needs, and nothing else",
  ],
  [
    "the norm without its sign",
    scoresThen((_layer, out_KS) => {
      for (let i = 0; i < out_KS.length; i++) out_KS[i] = -out_KS[i];
    }),
    "ranks its worked example as stated",
  ],
]);

const soundAllocate = createDefault(global).allocate;
const allocates = (allocate: Allocator["allocate"]): AllocatorFactory => ({ ...global, create: () => ({ allocate }) });

suite<AllocatorFactory>("allocatorConformance()", allocatorConformance, global, [
  ...brokenFactories(global),
  [
    "one pair too few",
    allocates((scores, protectedTokens, total) => soundAllocate(scores, protectedTokens, Math.max(0, total - 1))),
    "hands out exactly the total, one count per layer and head",
  ],
  [
    "every head rounded down",
    allocates((scores, _protectedTokens, total) => {
      const numRows = scores.numLayers * scores.numKvHeads;
      return new Uint32Array(numRows).fill(Math.floor(total / numRows));
    }),
    "hands out exactly the total, one count per layer and head",
  ],
  [
    "everything to the first head",
    allocates((scores, _protectedTokens, total) => {
      const headBudget_LK = new Uint32Array(scores.numLayers * scores.numKvHeads);
      headBudget_LK[0] = total;
      return headBudget_LK;
    }),
    "gives no head more pairs than it has ranked",
  ],
  [
    "heads filled from the other end when the total is odd",
    allocates((scores, protectedTokens, total) => {
      const headBudget_LK = soundAllocate(scores, protectedTokens, total);
      return total % 2 === 0 ? headBudget_LK : headBudget_LK.reverse();
    }),
    "takes nothing but a rounded pair or two from a head when the total grows",
  ],
  [
    "scores sorted in place",
    allocates((scores, protectedTokens, total) => {
      const headBudget_LK = soundAllocate(scores, protectedTokens, total);
      scores.score_LKS.sort();
      return headBudget_LK;
    }),
    "gives the same counts for the same scores and leaves them as they were",
  ],
  [
    "protected positions competing",
    allocates((scores, protectedTokens, total) => {
      const headBudget_LK = soundAllocate(scores, 0, total);
      const cap = scores.seqLen - protectedTokens;
      return headBudget_LK.map((budget) => Math.min(budget, cap));
    }),
    "ignores the scores of protected positions",
  ],
  [
    "a total that does not fit clamped silently",
    allocates((scores, protectedTokens, total) => {
      const ranked = scores.numLayers * scores.numKvHeads * (scores.seqLen - protectedTokens);
      return soundAllocate(scores, protectedTokens, Math.min(total, ranked));
    }),
    "refuses a total above what is ranked and scores without the profile it names",
  ],
  [
    "heads called level that compete",
    { ...global, create: () => ({ ...createDefault(global), levelsHeads: true }) },
    "gives all heads of a layer the same, but for one pair, where it says so",
  ],
  [
    "a total of its own above the ceiling",
    { ...global, create: () => ({ ...createDefault(global), chooseTotal: (_scores, _protectedTokens, total) => total + 1 }) },
    "chooses a total, where it does, of at most what it may",
  ],
  [
    "a layer that reads a later one",
    {
      ...global,
      create: () => ({
        ...createDefault(global),
        sourceLayers: ({ numLayers }) => Uint32Array.from({ length: numLayers }, () => numLayers - 1),
      }),
    },
    "lets a layer read itself or an earlier one that reads itself, where it says so",
  ],
]);

const soundSelect = createDefault(topK).select;
const selects = (select: Selector["select"]): SelectorFactory => ({
  ...topK,
  create: (params) => ({ ...topK.create(params), select }),
});
/** Budgeted positions by `before`, protected ones first: a slow top-k to break. */
const selectsBy = (before: (a: number, b: number, score_S: Float32Array) => number): SelectorFactory =>
  selects((score_S, protectedTokens, budget) => {
    soundSelect(score_S, protectedTokens, budget);
    const ranked = [...score_S.keys()].slice(protectedTokens).sort((a, b) => before(a, b, score_S));
    const kept = [...score_S.keys()].slice(0, protectedTokens).concat(ranked.slice(0, budget));
    return Uint32Array.from(kept).sort();
  });

suite<SelectorFactory>("selectorConformance()", selectorConformance, topK, [
  ...brokenFactories(topK),
  [
    "a keep ratio taken for the removed fraction",
    { ...topK, create: (params) => ({ ...topK.create(params), keepRatio: 1 - Number(params["keep"]) }) },
    "keeps the ratio its parameter says and refuses one outside (0, 1]",
  ],
  [
    "a strict threshold that loses ties",
    selects((score_S, protectedTokens, budget) => {
      const ranked = score_S.slice(protectedTokens).sort().reverse();
      return Uint32Array.from([...score_S.keys()].filter((s) => s < protectedTokens || score_S[s] > ranked[budget - 1]));
    }),
    "selects exactly the protected positions and the budget",
  ],
  [
    "positions in order of score",
    selects((score_S, protectedTokens, budget) => soundSelect(score_S, protectedTokens, budget).reverse()),
    "selects ascending positions of the context, none twice",
  ],
  [
    "protected positions only favoured",
    selects((score_S, protectedTokens, budget) => soundSelect(score_S, 0, protectedTokens + budget)),
    "selects every protected position, whatever its score",
  ],
  [
    "the lowest scores kept",
    selectsBy((a, b, score_S) => score_S[a] - score_S[b] || a - b),
    "prefers higher scores, negative ones included",
  ],
  [
    "negative scores ordered by magnitude",
    selectsBy((a, b, score_S) => Math.abs(score_S[b]) - Math.abs(score_S[a]) || a - b),
    "prefers higher scores, negative ones included",
  ],
  [
    "ties to the higher position",
    selectsBy((a, b, score_S) => score_S[b] - score_S[a] || b - a),
    "keeps the lower position on ties, -0 and 0 being equal",
  ],
  [
    "-0 below 0",
    selectsBy(
      (a, b, score_S) =>
        score_S[b] - score_S[a] || Number(Object.is(score_S[a], -0)) - Number(Object.is(score_S[b], -0)) || a - b,
    ),
    "keeps the lower position on ties, -0 and 0 being equal",
  ],
  [
    "scores sorted in place",
    selects((score_S, protectedTokens, budget) => {
      const position_n = soundSelect(score_S, protectedTokens, budget);
      score_S.sort();
      return position_n;
    }),
    "gives the same positions for the same scores and leaves them as they were",
  ],
  [
    "a budget that does not fit clamped silently",
    selects((score_S, protectedTokens, budget) =>
      soundSelect(score_S, protectedTokens, Math.min(budget, score_S.length - protectedTokens)),
    ),
    "refuses a budget above what is ranked",
  ],
  [
    "a position kept twice",
    selects((score_S, protectedTokens, budget) => {
      const position_n = soundSelect(score_S, protectedTokens, budget);
      if (position_n.length > 1) position_n[1] = position_n[0];
      return position_n;
    }),
    "makes evicting equal to masking for any query",
  ],
]);

const sound16 = createDefault(f16);
const codes = (codec: Partial<Codec>, base: CodecFactory = f16): CodecFactory => ({
  ...base,
  create: () => ({ ...createDefault(base), ...codec }),
});

suite<CodecFactory>("codecConformance()", codecConformance, f16, [
  ...brokenFactories(f16),
  [
    "a size for keys alone",
    codes({ encodedBytes: (layout) => sound16.encodedBytes(layout) / 2 }),
    "writes exactly the bytes it declares, or at most those where sizes depend on the data",
  ],
  [
    "a ceiling below what it writes",
    codes({ sizeDependsOnData: true, encodedBytes: (layout) => sound16.encodedBytes(layout) - 1 }),
    "writes exactly the bytes it declares, or at most those where sizes depend on the data",
  ],
  [
    "scales not counted",
    codes({ encodedBytes: createDefault(int8).encodedBytes }, f32),
    "writes exactly the bytes it declares, or at most those where sizes depend on the data",
  ],
  [
    "a tensor named pos",
    codes({
      encode: (layer) => new Map([...sound16.encode(layer), ["pos", { dtype: "U8", shape: [0], data: new Uint8Array(0) }]]),
    }),
    "leaves the names of positions and offsets to the part",
  ],
  [
    "positions that are not the layer's",
    codes({ decodePositions: (_tensors, { offset }) => new Uint32Array(offset[offset.length - 1]).fill(7) }),
    "gives back the positions that it stores itself, where it does",
  ],
  [
    "clusters promised and none given",
    codes({ recalls: true }),
    "gives every row a cluster of its head where it says that rows are recalled, and nowhere else",
  ],
  [
    "a cluster that no row can fill",
    codes({
      recalls: true,
      decode: (tensors, layout) => {
        const cluster_n = new Uint16Array(layout.position_n.length).fill(60_000);
        return { ...sound16.decode(tensors, layout), recall: { cluster_n, budgetRows: 8 } };
      },
    }),
    "gives every row a cluster of its head where it says that rows are recalled, and nowhere else",
  ],
  ["halves called lossless", codes({ maxRelativeError: 0 }), "decodes within its stated error, bit for bit where that is 0"],
  [
    "keys and values exchanged",
    codes({ encode: (layer) => sound16.encode({ ...layer, key_nD: layer.value_nD, value_nD: layer.key_nD }) }),
    "decodes within its stated error, bit for bit where that is 0",
  ],
  [
    "NaN decoded",
    codes({
      decode: (tensors, layout) => ({
        ...sound16.decode(tensors, layout),
        key_nD: new Float32Array(layout.position_n.length * layout.headDim).fill(Number.NaN),
      }),
    }),
    "decodes within its stated error, bit for bit where that is 0",
  ],
  [
    "dithered codes",
    codes({ encode: (layer) => sound16.encode({ ...layer, key_nD: layer.key_nD.map((x) => x * (1 + 1e-4 * ++calls)) }) }),
    "gives the same bytes for the same layer and leaves it as it was",
  ],
  [
    "tensors found by their size",
    codes({
      decode: (tensors, layout) => {
        const [k, v] = [...tensors.values()].filter(({ dtype }) => dtype === "F16") as [NamedTensor, NamedTensor];
        return sound16.decode(
          new Map([
            ["k", k],
            ["v", v],
          ]),
          layout,
        );
      },
    }),
    "refuses a missing, an extra, a re-typed and a re-shaped tensor",
  ],
  [
    "tensors found by their order",
    codes({
      decode: (tensors, layout) => {
        const [k, v] = [...tensors.values()] as [NamedTensor, NamedTensor];
        return sound16.decode(
          new Map([
            ["k", k],
            ["v", v],
          ]),
          layout,
        );
      },
    }),
    "refuses a part with any bit of its header flipped",
  ],
  [
    "a need that it does not declare",
    codes({
      encode: (layer) =>
        sound16.encode({ ...layer, key_nD: layer.key_nD.map((x) => x * (1 + (layer.score_n?.[0] ?? 1) * 2 ** -12)) }),
    }),
    "refuses a layer without what it needs",
  ],
  ["a declared need that it can do without", codes({ needs: new Set(["rope"]) }), "refuses a layer without what it needs"],
  [
    "a scale over all rows of a part",
    codes({
      encode: (layer) => {
        const mean = layer.key_nD.reduce((sum, x) => sum + x, 0) / Math.max(1, layer.key_nD.length);
        const shifted = encodeF16(layer.key_nD.map((x) => x - mean));
        const shape = [layer.position_n.length, layer.headDim];
        return new Map(sound16.encode(layer)).set("k", { dtype: "F16", shape, data: new Uint8Array(shifted.buffer) });
      },
    }),
    "comes back the same from several parts as from one, none above the limit",
  ],
]);
