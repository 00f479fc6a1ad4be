import { createRng } from "@kvault/core";
import { expect, test } from "vitest";
import type { EncodableLayer } from "../types.ts";
import { int4 } from "./int4.ts";
import { kivi } from "./kivi.ts";
import { preRope } from "./pre-rope.ts";
import { turnRows } from "./rotation.ts";

/** Keys as of a model with key biases: each channel its own offset and a little noise, then rotated. */
function biasedLayer(numTokens: number): EncodableLayer {
  const rng = createRng(11);
  const headDim = 64;
  const ropeFrequencies = Float64Array.from({ length: 32 }, (_, i) => 1e6 ** ((-2 * i) / 64));
  const bias_D = Array.from({ length: headDim }, (_, d) => (d % 9 === 0 ? 40 : 2) * (2 * rng.next() - 1));
  const key_nD = Float32Array.from({ length: numTokens * headDim }, (_, i) => bias_D[i % headDim] + rng.next() - 0.5);
  const position_n = Uint32Array.from({ length: numTokens }, (_, n) => 3 * n + 2);
  turnRows(key_nD, position_n, headDim, ropeFrequencies, 1, key_nD);
  const value_nD = Float32Array.from({ length: numTokens * headDim }, () => 2 * rng.next() - 1);
  return { numKvHeads: 1, headDim, offset: Uint32Array.of(0, numTokens), position_n, key_nD, value_nD, ropeFrequencies };
}

function rmsKeyError(codec: ReturnType<typeof preRope.create>, layer: EncodableLayer): number {
  const { key_nD } = codec.decode(codec.encode(layer), layer);
  let sum = 0;
  for (let i = 0; i < key_nD.length; i++) sum += (key_nD[i] - layer.key_nD[i]) ** 2;
  return Math.sqrt(sum / key_nD.length);
}

test("pre-rope at 4 bits is far closer on keys with biases than rotated channels, and those than tokens", () => {
  const layer = biasedLayer(200);
  const plain = rmsKeyError(preRope.create({ keys: 4 }), layer);
  const rotated = rmsKeyError(kivi.create({ bits: 4, residual: 0 }), layer);
  const perToken = rmsKeyError(int4.create({}), layer);
  expect(plain).toBeLessThan(0.05);
  expect(rotated).toBeGreaterThan(4 * plain);
  expect(perToken).toBeGreaterThan(rotated);
});

test("pre-rope needs the part alone to decode", () => {
  const layer = biasedLayer(10);
  const codec = preRope.create({});
  const tensors = codec.encode(layer);
  const { numKvHeads, headDim, offset, position_n } = layer;
  const { key_nD } = preRope.create({}).decode(tensors, { numKvHeads, headDim, offset, position_n });
  for (let i = 0; i < key_nD.length; i++) expect(Math.abs(key_nD[i] - layer.key_nD[i])).toBeLessThan(0.01);
});

test("pre-rope of 4 and 4 bits takes 0.28 of f16, of 8 and 4 bits 0.41", () => {
  const { numKvHeads, headDim, offset, position_n } = biasedLayer(6400);
  const share = (params: Record<string, unknown>): number =>
    preRope.create(params).encodedBytes({ numKvHeads, headDim, offset, position_n }) / (6400 * 64 * 4);
  expect(share({ keys: 4, values: 4 })).toBeCloseTo(0.28125, 3);
  expect(share({})).toBeCloseTo(0.40625, 3);
});

test("pre-rope refuses widths it does not have", () => {
  expect(preRope.params.safeParse({ keys: 5 }).success).toBe(false);
});
