import { checkRagged, createRng } from "@kvault/core";
import { makeDenseLayer } from "@kvault/core/testing";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeLayer, encodeLayer } from "./part.ts";
import { keepRows, layerRows, reportSelection, type ScoreSource, scoreLayers, selectPairs } from "./pipeline.ts";
import { resolveSpec } from "./plan.ts";
import type { ScorerLayer } from "./types.ts";

const METHODS = ["kvzip", "kvzip-uniform", "l2norm", "streaming-llm", "random(seed=7)|global|top-k|f32"];

/** Random layers with everything a scorer may need; `reads` counts them. */
function sourceOf(seed: number, sizes: { numLayers: number; numKvHeads: number; seqLen: number; prefixTokens: number }) {
  const headDim = 4;
  const dense = Array.from({ length: sizes.numLayers }, (_, l) => makeDenseLayer(createRng(seed + l), { ...sizes, headDim }));
  const source = {
    ...sizes,
    headDim,
    reads: 0,
    layer(layer: number) {
      source.reads++;
      const rng = createRng(1000 + seed + layer);
      const repeatAttention_KS = Float32Array.from({ length: sizes.numKvHeads * sizes.seqLen }, () => rng.next());
      return { ...sizes, ...dense[layer], layer, repeatAttention_KS };
    },
  } satisfies ScoreSource & { reads: number };
  return { source, dense };
}

const sizes = { numLayers: 3, numKvHeads: 2, seqLen: 30, prefixTokens: 5 };

describe("selectPairs()", () => {
  test("keeps the stated share of the ranked pairs exactly, rounded half to even, and every prefix", () => {
    const anySizes = fc.record({
      numLayers: fc.integer({ min: 1, max: 3 }),
      numKvHeads: fc.integer({ min: 1, max: 3 }),
      seqLen: fc.integer({ min: 5, max: 20 }),
      prefixTokens: fc.integer({ min: 0, max: 5 }),
    });
    const ratio = fc.double({ min: 0.01, max: 1, noNaN: true });
    fc.assert(
      fc.property(anySizes, ratio, fc.constantFrom(...METHODS), fc.nat(1000), (size, keepRatio, method, seed) => {
        const { source, dense } = sourceOf(seed, size);
        const selection = selectPairs(resolveSpec(method, keepRatio), source);
        const ranked = size.numLayers * size.numKvHeads * (size.seqLen - size.prefixTokens);
        const report = reportSelection(selection);
        expect(Math.abs(report.keptRankedPairs - keepRatio * ranked)).toBeLessThanOrEqual(0.5);
        for (const [l, layer] of dense.entries()) {
          const rows = keepRows(selection, l, layer);
          checkRagged(rows, size.seqLen);
          for (let k = 0; k < size.numKvHeads; k++) {
            const start = rows.offset[k];
            const prefix = [...rows.position_n.subarray(start, start + size.prefixTokens)];
            expect(prefix).toEqual(Array.from({ length: size.prefixTokens }, (_, s) => s));
          }
        }
      }),
    );
  });

  test("rounds half a pair to even", () => {
    const { source } = sourceOf(1, { numLayers: 1, numKvHeads: 1, seqLen: 10, prefixTokens: 0 });
    const kept = (keepRatio: number): number => selectPairs(resolveSpec("l2norm", keepRatio), source).position_n.length;
    expect([0.05, 0.15, 0.25, 0.35].map(kept)).toEqual([0, 2, 2, 4]);
  });

  test("scores nothing where everything is kept", () => {
    const { source, dense } = sourceOf(1, sizes);
    const selection = selectPairs(resolveSpec("kvzip", 1), source);
    expect(source.reads).toBe(0);
    for (const [l, layer] of dense.entries()) {
      const rows = keepRows(selection, l, layer);
      checkRagged(rows, sizes.seqLen);
      expect(rows.key_nD).toBe(layer.key_KSD);
      expect(rows.value_nD).toBe(layer.value_KSD);
    }
  });

  test("reads every layer once, in order", () => {
    const { source } = sourceOf(1, sizes);
    const order: number[] = [];
    const layer = (l: number): ScorerLayer => {
      order.push(l);
      return source.layer(l);
    };
    selectPairs(resolveSpec("kvzip"), { ...source, layer });
    expect(order).toEqual([0, 1, 2]);
  });

  test("keeps more where the scores are higher", () => {
    const { source } = sourceOf(1, sizes);
    const boosted: ScoreSource = {
      ...source,
      layer: (l) => {
        const layer = source.layer(l);
        return { ...layer, repeatAttention_KS: layer.repeatAttention_KS.map((score) => (l === 1 ? 0.5 + score / 2 : score / 2)) };
      },
    };
    const { kept_LK } = reportSelection(selectPairs(resolveSpec("kvzip", 0.3), boosted));
    expect([...kept_LK.subarray(2, 4)].every((kept) => kept > 12)).toBe(true);
    expect([...kept_LK.subarray(0, 2), ...kept_LK.subarray(4)]).toEqual([5, 5, 5, 5]);
  });

  test("names where a score is not finite", () => {
    const { source } = sourceOf(1, sizes);
    const spoilt: ScoreSource = {
      ...source,
      layer: (l) => {
        const layer = source.layer(l);
        if (l === 2) layer.repeatAttention_KS[30 + 7] = Number.NaN;
        return layer;
      },
    };
    expect(() => scoreLayers(resolveSpec("kvzip"), spoilt)).toThrow(
      expect.objectContaining({ code: "INTERNAL", details: { layer: 2, kvHead: 1, position: 7 } }),
    );
  });

  test("refuses a prefix longer than the context", () => {
    const { source } = sourceOf(1, sizes);
    expect(() => selectPairs(resolveSpec("kvzip"), { ...source, prefixTokens: 31 })).toThrow(RangeError);
  });
});

describe("keepRows()", () => {
  test("gathers the rows that come back from a part", () => {
    const { source, dense } = sourceOf(9, sizes);
    const plan = resolveSpec("kvzip|global|top-k|f32");
    const selection = selectPairs(plan, source);
    const rows = keepRows(selection, 2, dense[2]);
    const { offset, position_n } = layerRows(selection, 2);
    expect(rows.offset).toEqual(offset);
    for (let k = 0; k < 2; k++) {
      for (let i = offset[k]; i < offset[k + 1]; i++) {
        const from = (k * sizes.seqLen + position_n[i]) * 4;
        expect(rows.key_nD.subarray(i * 4, i * 4 + 4)).toEqual(dense[2].key_KSD.subarray(from, from + 4));
      }
    }
    expect(decodeLayer(plan.codecSpec, encodeLayer(plan.codec, rows), source)).toEqual({
      ...rows,
      position_n: Uint32Array.from(position_n),
    });
  });

  test("refuses a layer of another size", () => {
    const { source } = sourceOf(9, sizes);
    const selection = selectPairs(resolveSpec("l2norm"), source);
    const other = makeDenseLayer(createRng(1), { numKvHeads: 2, seqLen: 31, headDim: 4 });
    expect(() => keepRows(selection, 0, other)).toThrow(RangeError);
  });
});

describe("reportSelection()", () => {
  test("counts pairs with and without the prefix and the uncompressed bytes", () => {
    const { source } = sourceOf(1, sizes);
    const report = reportSelection(selectPairs(resolveSpec("kvzip-uniform", 0.3), source));
    expect(report).toMatchObject({
      totalPairs: 180,
      rankedPairs: 150,
      keptPairs: 75,
      keptRankedPairs: 45,
      rawBytesF16: 180 * 4 * 4,
    });
    expect(report.keepRatio).toBeCloseTo(0.3, 12);
    expect([...report.kept_LK]).toEqual([13, 13, 13, 12, 12, 12]);
  });
});
