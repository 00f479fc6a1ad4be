import { createRng } from "@kvault/core";
import { makeDenseLayer } from "@kvault/core/testing";
import { expect, test } from "vitest";
import { selectPairs } from "../pipeline.ts";
import { resolveSpec } from "../plan.ts";
import type { EncodableLayer } from "../types.ts";
import { leankv } from "./leankv.ts";

/** Two heads of 10 and 6 rows; odd rows score high. */
function scoredLayer(): EncodableLayer {
  const { key_KSD, value_KSD } = makeDenseLayer(createRng(3), { numKvHeads: 1, seqLen: 16, headDim: 8 });
  return {
    ...{ numKvHeads: 2, headDim: 8, offset: Uint32Array.of(0, 10, 16) },
    position_n: Uint32Array.from({ length: 16 }, (_, n) => n % 10),
    ...{ key_nD: key_KSD, value_nD: value_KSD },
    score_n: Float32Array.from({ length: 16 }, (_, n) => n % 2),
  };
}

const worst = (found: Float32Array, source: Float32Array, row: number): number =>
  Math.max(...found.subarray(row * 8, (row + 1) * 8).map((x, d) => Math.abs(x - source[row * 8 + d])));

test("leankv spends its bits on the pairs of high score", () => {
  const layer = scoredLayer();
  const codec = leankv.create({ high: 0.5 });
  const { key_nD, value_nD } = codec.decode(codec.encode(layer), layer);
  for (let row = 0; row < 16; row++) {
    const [key, value] = row % 2 === 1 ? [2 / 255, 2 / 15] : [2 / 15, 2 / 3];
    expect(worst(key_nD, layer.key_nD, row)).toBeLessThanOrEqual((key / 2) * 1.01);
    expect(worst(value_nD, layer.value_nD, row)).toBeLessThanOrEqual((value / 2) * 1.01);
  }
});

test("leankv takes what its classes count up to", () => {
  const codec = leankv.create({ high: 0.5 });
  const [header, high, low] = [2, 8 + 4 + 8, 4 + 2 + 8];
  expect(codec.encodedBytes(scoredLayer())).toBe(header + 8 * high + 8 * low);
  expect(leankv.create({ high: 0 }).encodedBytes(scoredLayer())).toBe(header + 16 * low);
});

test("leankv refuses classes that do not count up", () => {
  const layer = scoredLayer();
  const codec = leankv.create({});
  const tensors = codec.encode(layer);
  tensors.get("class")!.data[0] ^= 1;
  expect(() => codec.decode(tensors, layer)).toThrow(expect.objectContaining({ code: "CACHE_CORRUPT" }));
});

test("a selection carries the scores of its pairs when the codec needs them", () => {
  const source = { numLayers: 1, numKvHeads: 1, headDim: 1, seqLen: 6, prefixTokens: 1 };
  const layer = (l: number) => ({ ...source, layer: l, repeatAttention_KS: Float32Array.of(9, 0.1, 0.5, 0.2, 0.4, 0.3) });
  const scored = selectPairs(resolveSpec("kvzip|global|top-k(keep=0.6)|leankv"), { ...source, layer });
  expect([...scored.position_n]).toEqual([0, 2, 4, 5]);
  // The prefix counts as most important.
  const [prefix, ...rest] = scored.score_n!;
  expect(rest).toEqual([0.5, 0.4, 0.3].map(Math.fround));
  expect(prefix).toBeGreaterThan(0.5);
  expect(selectPairs(resolveSpec("kvzip|global|top-k(keep=0.6)|f16"), { ...source, layer }).score_n).toBeUndefined();
});
