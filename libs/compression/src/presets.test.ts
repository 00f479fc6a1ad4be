import { createRng } from "@kvault/core";
import { makeDenseLayer } from "@kvault/core/testing";
import { describe, expect, test } from "vitest";
import { describeMethods } from "./describe.ts";
import { decodeParts, encodeLayer } from "./part.ts";
import { keepRows, refitRows, reportSelection, selectPairs, sourceLayer } from "./pipeline.ts";
import { resolveSpec } from "./plan.ts";
import { PRESETS } from "./presets.ts";
import type { ModelProfile, ScorerLayer } from "./types.ts";

const [L, K, H, S, D, prefixTokens] = [3, 2, 4, 60, 8, 5];
const sizes = { numLayers: L, numKvHeads: K, headDim: D, seqLen: S, prefixTokens };
const ropeFrequencies = Float64Array.from({ length: D / 2 }, (_, i) => 10_000 ** ((-2 * i) / D));

/** A made-up model's context with everything any scorer asks for. */
function makeContext() {
  const rng = createRng(12);
  const draw = (length: number): Float32Array => Float32Array.from({ length }, () => rng.next());
  const dense = Array.from({ length: L }, () => makeDenseLayer(rng, sizes));
  const profile: ModelProfile = {
    "retrieval-heads": draw(L * H),
    "layer-errors": draw(L),
    "kvzip-heads": draw(L * K),
    "baklava-heads": draw(L * K),
    "duo-heads": draw(L * K),
    "layer-map": Float32Array.of(0, 1, 0),
  };
  const layers: ScorerLayer[] = dense.map(({ key_KSD, value_KSD }, layer) => ({
    ...{ ...sizes, layer, key_KSD, value_KSD, numQueryHeads: H, ropeFrequencies, profile },
    repeatAttention_KS: draw(K * S),
    windowAttention_HS: draw(H * S),
    queryMean_HD: draw(H * D),
    queryCovariance_HDD: draw(H * D * D),
    surrogate_KS: draw(K * S).map((x) => Math.log(x + 1e-6) - 2),
  }));
  return { dense, layers, profile, query_KMD: draw(K * 20 * D) };
}

describe.each([...PRESETS.keys()])("preset %s", (name) => {
  test("selects, refits, encodes and decodes a context", async () => {
    const { dense, layers, profile, query_KMD } = makeContext();
    const plan = resolveSpec(name);
    const selection = selectPairs(plan, { ...sizes, profile, layer: (l) => layers[l] });
    const report = reportSelection(selection);
    expect(report.keepRatio).toBeLessThanOrEqual(plan.keepRatio + 1 / report.rankedPairs);
    expect(report.keptRankedPairs).toBeGreaterThan(0);
    for (let l = 0; l < L; l++) {
      const layer = dense[sourceLayer(selection, l)];
      const kept = keepRows(selection, l, layer);
      const rows = plan.refit === undefined ? kept : await refitRows(plan.refit, layer, kept, query_KMD);
      const parts = encodeLayer(plan.codec, { ...rows, ropeFrequencies });
      const decoded = decodeParts(plan.codec, parts, { numKvHeads: K, headDim: D, seqLen: S });
      expect([decoded.offset, decoded.position_n]).toEqual([rows.offset, rows.position_n]);
      const magnitude = rows.key_nD.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
      for (const [i, x] of rows.key_nD.entries()) {
        expect(Math.abs(decoded.key_nD[i] - x)).toBeLessThanOrEqual(plan.codec.maxRelativeError * magnitude);
      }
      const heads = Array.from({ length: K }, (_, k) => rows.offset[k + 1] - rows.offset[k]);
      if (!plan.ragged) expect(Math.max(...heads) - Math.min(...heads)).toBeLessThanOrEqual(1);
    }
  });

  test("looks at no query and says where it is from", () => {
    const found = describeMethods().presets.find((preset) => preset.name === name);
    expect(found).toMatchObject({ queryAgnostic: true, paper: expect.stringMatching(/^(own|arXiv:\d{4}\.\d{5})$/) });
    expect(resolveSpec(found?.spec ?? "").spec).toBe(found?.spec);
  });
});

test("kvault is what its findings suggest", () => {
  expect(resolveSpec("kvault").spec).toBe(
    "surrogate(recent=0)|global|top-k(keep=0.3)|refit(queries=own,m=1000,ridge=0.03,steps=4)|pre-rope(keys=8,values=4,group=64)",
  );
});
