import { readFileSync } from "node:fs";
import { alignedView, createRng, decodeF16, decodeSafetensors, encodeSafetensors, isKvaultError } from "@kvault/core";
import { makeRaggedLayer } from "@kvault/core/testing";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeParts, encodeLayer } from "../part.ts";
import { codecFromSpec } from "../plan.ts";
import type { EncodableLayer } from "../types.ts";
import { entropy } from "./entropy.ts";
import { createPreRope } from "./pre-rope.ts";
import { turnRows } from "./rotation.ts";

const frequenciesOf = (headDim: number, theta = 10_000): Float64Array =>
  Float64Array.from({ length: headDim >> 1 }, (_, i) => theta ** ((-2 * i) / headDim));

function layerOf(seqLen: number, headDim = 16): EncodableLayer {
  const layer = makeRaggedLayer(createRng(seqLen), { numKvHeads: 3, seqLen, headDim });
  return { ...layer, ropeFrequencies: frequenciesOf(headDim) };
}

/** Keys and values of a layer of real weights, every token kept. */
function realLayer(model: string, theta: number, layerIndex: number): EncodableLayer {
  const { tensors } = decodeSafetensors(
    readFileSync(new URL(`../../../../tests/fixtures/${model}.safetensors`, import.meta.url)),
  );
  const [numKvHeads, seqLen, headDim] = tensors.get(`keys.${layerIndex}`)!.shape;
  const read = (name: string): Float32Array => decodeF16(alignedView(tensors.get(name)!.data, Uint16Array));
  return {
    ...{ numKvHeads, headDim, offset: Uint32Array.from({ length: numKvHeads + 1 }, (_, k) => k * seqLen) },
    position_n: Uint32Array.from({ length: numKvHeads * seqLen }, (_, n) => n % seqLen),
    ...{ key_nD: read(`keys.${layerIndex}`), value_nD: read(`values.${layerIndex}`) },
    ropeFrequencies: frequenciesOf(headDim, theta),
  };
}

const bytesOfParts = (parts: readonly Uint8Array[]): number => parts.reduce((sum, part) => sum + part.byteLength, 0);

describe("entropy", () => {
  test("parts have no positions of their own, and the same come back", () => {
    const layer = layerOf(300);
    const codec = entropy.create({});
    const [part] = encodeLayer(codec, layer);
    expect([...decodeSafetensors(part).tensors.keys()].sort()).toEqual(["base", "code", "offsets", "rope"]);
    const decoded = decodeParts(codec, [part], { numKvHeads: 3, headDim: 16, seqLen: 300 });
    expect(decoded.position_n).toEqual(layer.position_n);
    expect(decoded.offset).toEqual(layer.offset);
  });

  test("keys before rotation and values are off by half a step of their group at most", () => {
    const group = 32;
    const headDim = 16;
    const layer = layerOf(200, headDim);
    const codec = entropy.create({ keys: 4, values: 4, group });
    const decoded = codec.decode(codec.encode(layer), layer);
    const plain = new Float32Array(layer.key_nD.length);
    const decodedPlain = new Float32Array(layer.key_nD.length);
    // The same rounded frequencies both ways: what the codec itself turns by.
    const frequencies = Float32Array.from(layer.ropeFrequencies!);
    turnRows(layer.key_nD, layer.position_n, headDim, frequencies, -1, plain);
    turnRows(decoded.key_nD, layer.position_n, headDim, frequencies, -1, decodedPlain);
    const halfStep = (rows: Float32Array, indices: readonly number[]): number => {
      const values = indices.map((i) => rows[i]);
      return (0.5 * 2 ** (1 / 16) * (Math.max(...values) - Math.min(...values))) / 15 + 1e-5;
    };
    for (let k = 0; k < 3; k++) {
      for (let start = layer.offset[k]; start < layer.offset[k + 1]; start += group) {
        const end = Math.min(layer.offset[k + 1], start + group);
        for (let d = 0; d < headDim; d++) {
          const channel = Array.from({ length: end - start }, (_, i) => (start + i) * headDim + d);
          const bound = halfStep(plain, channel);
          for (const i of channel) expect(Math.abs(decodedPlain[i] - plain[i])).toBeLessThanOrEqual(bound);
        }
      }
    }
    for (let n = 0; n < layer.position_n.length; n++) {
      const token = Array.from({ length: headDim }, (_, d) => n * headDim + d);
      const bound = halfStep(layer.value_nD, token);
      for (const i of token) expect(Math.abs(decoded.value_nD[i] - layer.value_nD[i])).toBeLessThanOrEqual(bound);
    }
  });

  test("takes little more than a hundred bytes for values that are all alike", () => {
    const layer = layerOf(2000);
    const alike = { ...layer, key_nD: layer.key_nD.fill(0), value_nD: layer.value_nD.fill(0) };
    const codec = entropy.create({});
    const gaps = codec.encode({
      ...alike,
      position_n: alike.position_n.map((_, n) => n),
      offset: Uint32Array.of(0, 0, 0, alike.position_n.length),
    });
    expect(gaps.get("code")!.data.byteLength).toBeLessThan(160);
  });

  test.each([
    ["qwen2.5-coder-0.5b", 1e6, 0],
    ["qwen2.5-coder-0.5b", 1e6, 12],
    ["smollm2-135m", 1e5, 15],
  ] as const)(
    "takes a tenth off 4-bit pre-rope of the same groups on %s, headers and tables included, at the same error",
    (model, theta, layerIndex) => {
      const layer = realLayer(model, theta, layerIndex);
      const plain = createPreRope({ keys: 4, values: 4, group: 64 });
      const codec = entropy.create({ group: 64 });
      const coded = encodeLayer(codec, layer);
      expect(bytesOfParts(coded) / bytesOfParts(encodeLayer(plain, layer))).toBeLessThan(0.87);
      const before = plain.decode(plain.encode(layer), layer);
      const after = codec.decode(codec.encode(layer), layer);
      expect(rmse(after.key_nD, layer.key_nD)).toBeLessThan(1.05 * rmse(before.key_nD, layer.key_nD));
      expect(rmse(after.value_nD, layer.value_nD)).toBeLessThan(1.05 * rmse(before.value_nD, layer.value_nD));
    },
  );

  test("records of another layout are refused as those of another codec", () => {
    const first = "entropy(keys=4,values=4,group=256)";
    expect(() => codecFromSpec(first)).toThrow(
      expect.objectContaining({ code: "INCOMPATIBLE_FORMAT", details: { field: "codec", found: first } }),
    );
    expect(codecFromSpec("entropy(keys=4,values=4,group=256,layout=2)").sizeDependsOnData).toBe(true);
  });

  test("a part with any bytes changed or cut is read or refused by name, never otherwise", () => {
    const shape = { numKvHeads: 3, headDim: 8, seqLen: 60 };
    const codec = entropy.create({});
    const [part] = encodeLayer(codec, layerOf(60, 8));
    const { tensors } = decodeSafetensors(part);
    const change = fc.record({
      tensor: fc.constantFrom(...tensors.keys()),
      at: fc.nat(),
      flip: fc.integer({ min: 1, max: 255 }),
    });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), fc.option(fc.nat()), (changes, cut) => {
        const damaged = new Map([...tensors].map(([name, tensor]) => [name, { ...tensor, data: tensor.data.slice() }]));
        for (const { tensor, at, flip } of changes) {
          const { data } = damaged.get(tensor)!;
          data[at % data.length] ^= flip;
        }
        if (cut !== null) {
          const code = damaged.get("code")!;
          const data = code.data.subarray(0, cut % code.data.length);
          damaged.set("code", { ...code, shape: [data.length], data });
        }
        try {
          decodeParts(codec, [encodeSafetensors(damaged)], shape);
        } catch (error) {
          expect(isKvaultError(error, "CACHE_CORRUPT"), String(error)).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });
});

function rmse(found: Float32Array, expected: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < expected.length; i++) sum += (found[i] - expected[i]) ** 2;
  return Math.sqrt(sum / expected.length);
}
