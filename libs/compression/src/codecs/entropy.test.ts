import { readFileSync } from "node:fs";
import { alignedView, createRng, decodeF16, decodeSafetensors } from "@kvault/core";
import { makeRaggedLayer } from "@kvault/core/testing";
import { describe, expect, test } from "vitest";
import type { EncodableLayer } from "../types.ts";
import { entropy, entropyCoded } from "./entropy.ts";
import { createKivi } from "./kivi.ts";
import { createLeankv } from "./leankv.ts";
import { createPreRope } from "./pre-rope.ts";

function bytesOfTensors(tensors: ReturnType<ReturnType<typeof entropy.create>["encode"]>): number {
  let bytes = 0;
  for (const { data } of tensors.values()) bytes += data.byteLength;
  return bytes;
}

function layerOf(seqLen: number, headDim = 16): EncodableLayer {
  const rng = createRng(seqLen);
  const layer = makeRaggedLayer(rng, { numKvHeads: 3, seqLen, headDim });
  return {
    ...layer,
    ropeFrequencies: Float64Array.from({ length: headDim / 2 }, (_, i) => 10_000 ** ((-2 * i) / headDim)),
    score_n: Float32Array.from({ length: layer.position_n.length }, () => rng.next()),
  };
}

describe("entropyCoded()", () => {
  test.each([
    ["pre-rope", createPreRope({ keys: 3, values: 4, group: 8 })],
    ["kivi", createKivi({ bits: 2, group: 8, residual: 16 })],
    ["leankv", createLeankv({ high: 0.3, group: 8 })],
  ])("of %s decodes what it decodes, bit for bit", (_name, inner) => {
    const coded = entropyCoded(inner);
    for (const seqLen of [1, 7, 300]) {
      const layer = layerOf(seqLen);
      expect(coded.decode(coded.encode(layer), layer)).toEqual(inner.decode(inner.encode(layer), layer));
    }
  });

  test("takes little more than the tables for values that are all alike", () => {
    const layer = layerOf(2000);
    const alike = { ...layer, key_nD: layer.key_nD.fill(0), value_nD: layer.value_nD.fill(0) };
    const bytes = bytesOfTensors(entropy.create({}).encode(alike));
    expect(bytes).toBeLessThan(10 * 256 + 200);
  });

  test("refuses a plane that was cut, in code and in the plain", () => {
    const codec = entropy.create({});
    const layer = layerOf(300);
    for (const name of ["k.0", "k.scale.0"]) {
      const tensors = codec.encode(layer);
      const { data } = tensors.get(name)!;
      const cut = data.subarray(0, data.length - 1);
      tensors.set(name, { dtype: "U8", shape: [cut.length], data: cut });
      expect(() => codec.decode(tensors, layer)).toThrow(expect.objectContaining({ code: "CACHE_CORRUPT" }));
    }
  });
});

test.each([
  ["qwen2.5-coder-0.5b", 1e6, 12],
  ["smollm2-135m", 1e5, 15],
] as const)("entropy takes bytes off 4-bit pre-rope in groups of 64 on %s, models included", (model, theta, layerIndex) => {
  const { tensors } = decodeSafetensors(
    readFileSync(new URL(`../../../../tests/fixtures/${model}.safetensors`, import.meta.url)),
  );
  const [numKvHeads, seqLen, headDim] = tensors.get(`keys.${layerIndex}`)!.shape;
  const read = (name: string): Float32Array => decodeF16(alignedView(tensors.get(name)!.data, Uint16Array));
  const layer: EncodableLayer = {
    ...{ numKvHeads, headDim, offset: Uint32Array.from({ length: numKvHeads + 1 }, (_, k) => k * seqLen) },
    position_n: Uint32Array.from({ length: numKvHeads * seqLen }, (_, n) => n % seqLen),
    ...{ key_nD: read(`keys.${layerIndex}`), value_nD: read(`values.${layerIndex}`) },
    ropeFrequencies: Float64Array.from({ length: headDim / 2 }, (_, i) => theta ** ((-2 * i) / headDim)),
  };
  const plain = createPreRope({ keys: 4, values: 4, group: 64 });
  const coded = bytesOfTensors(entropy.create({ group: 64 }).encode(layer));
  expect(coded / plain.encodedBytes(layer)).toBeLessThan(0.94);
});
