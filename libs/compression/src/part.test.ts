import {
  createRng,
  type DenseLayerKv,
  decodeSafetensors,
  encodeSafetensors,
  type NamedTensor,
  type RaggedLayerKv,
  sha256Hex,
} from "@kvault/core";
import { makeDenseLayer, makeRaggedLayer } from "@kvault/core/testing";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeLayer, encodeLayer, type LayerShape } from "./part.ts";
import { codecFromSpec } from "./plan.ts";

const f32 = codecFromSpec("f32");
const shape: LayerShape = { numKvHeads: 3, headDim: 4, seqLen: 40 };
const layer = makeRaggedLayer(createRng(3), shape);

/** The layer's only part with some tensors replaced or (undefined) left out. */
function partWith(changes: Readonly<Record<string, NamedTensor | undefined>>): Uint8Array {
  const tensors = new Map(decodeSafetensors(encodeLayer(f32, layer)[0]).tensors);
  for (const [name, tensor] of Object.entries(changes)) {
    if (tensor === undefined) tensors.delete(name);
    else tensors.set(name, tensor);
  }
  return encodeSafetensors(tensors);
}

const u32 = (values: ArrayLike<number>): NamedTensor => ({
  dtype: "U32",
  shape: [values.length],
  data: new Uint8Array(Uint32Array.from(values).buffer),
});

describe("encodeLayer()", () => {
  test("is undone by decodeLayer() for any layer and limit", () => {
    const sizes = fc.record({
      numKvHeads: fc.integer({ min: 1, max: 5 }),
      headDim: fc.integer({ min: 1, max: 9 }),
      seqLen: fc.integer({ min: 1, max: 60 }),
    });
    fc.assert(
      fc.property(sizes, fc.integer(), fc.integer({ min: 8500, max: 20_000 }), (size, seed, limit) => {
        const random = makeRaggedLayer(createRng(seed), size);
        const parts = encodeLayer(f32, random, limit);
        for (const part of parts) expect(part.byteLength).toBeLessThanOrEqual(limit);
        expect(decodeLayer("f32", parts, size)).toEqual(random);
      }),
    );
  });

  test("writes safetensors with positions and the offsets of its own rows", () => {
    const parts = encodeLayer(f32, layer, 9000).map((part) => decodeSafetensors(part).tensors);
    expect(parts.length).toBeGreaterThan(1);
    let rows = 0;
    for (const tensors of parts) {
      expect([...tensors.keys()]).toEqual(["k", "offsets", "pos", "v"]);
      const count = tensors.get("pos")!.shape[0];
      expect(tensors.get("k")!.shape).toEqual([count, 4]);
      expect(tensors.get("offsets")!.shape).toEqual([4]);
      rows += count;
    }
    expect(rows).toBe(layer.position_n.length);
  });

  test("writes one part of no rows for a layer that kept nothing", () => {
    const none = new Float32Array(0);
    const empty = {
      numKvHeads: 3,
      headDim: 4,
      offset: new Uint32Array(4),
      position_n: new Uint32Array(0),
      key_nD: none,
      value_nD: none,
    };
    const parts = encodeLayer(f32, empty);
    expect(parts).toHaveLength(1);
    expect(decodeLayer("f32", parts, shape)).toEqual(empty);
  });

  test("writes the bytes it always wrote", () => {
    const row = Float32Array.of(1, -2, 0.5, 3);
    const known: RaggedLayerKv = {
      numKvHeads: 2,
      headDim: 2,
      offset: Uint32Array.of(0, 1, 2),
      position_n: Uint32Array.of(4, 0),
      key_nD: row,
      value_nD: row,
    };
    const digests = ["f32", "f16", "int8"].map((codec) => sha256Hex(encodeLayer(codecFromSpec(codec), known)[0]).slice(0, 16));
    expect(digests).toMatchInlineSnapshot(`
      [
        "d3f82f2b406f40a0",
        "eef8dc822c9790a8",
        "b65bc5080f36d397",
      ]
    `);
  });

  test("refuses values that are not finite and rows above the limit", () => {
    for (const found of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const value_nD = Float32Array.from(layer.value_nD);
      value_nD[5] = found;
      expect(() => encodeLayer(f32, { ...layer, value_nD })).toThrow(expect.objectContaining({ code: "INTERNAL" }));
    }
    expect(() => encodeLayer(f32, layer, 100)).toThrow(RangeError);
  });
});

describe("decodeLayer()", () => {
  const whole = encodeLayer(f32, layer);
  const several = encodeLayer(f32, layer, 8600);

  test.each<[string, Uint8Array[], LayerShape]>([
    ["no positions", [partWith({ pos: undefined })], shape],
    ["no offsets", [partWith({ offsets: undefined })], shape],
    ["a tensor too many", [partWith({ other: u32([1]) })], shape],
    ["positions of another type", [partWith({ pos: { ...u32(layer.position_n), dtype: "I32" } })], shape],
    ["a position less", [partWith({ pos: u32(layer.position_n.subarray(1)) })], shape],
    ["positions out of order", [partWith({ pos: u32(Uint32Array.from(layer.position_n).reverse()) })], shape],
    ["offsets that fall", [partWith({ offsets: u32([0, 9, 2, layer.position_n.length]) })], shape],
    ["offsets past the rows", [partWith({ offsets: u32([0, 1, 2, layer.position_n.length + 1]) })], shape],
    ["positions outside the context", whole, { ...shape, seqLen: 20 }],
    ["another number of heads", whole, { ...shape, numKvHeads: 2 }],
    ["another head size", whole, { ...shape, headDim: 8 }],
    ["half a part", [whole[0].subarray(0, whole[0].byteLength >> 1)], shape],
    ["no parts", [], shape],
    ["parts out of order", [...several].reverse(), shape],
    ["a part twice", [several[0], ...several], shape],
  ])("refuses %s", (_what, parts, expected) => {
    expect(several.length).toBeGreaterThan(1);
    expect(() => decodeLayer("f32", parts, expected)).toThrow(expect.objectContaining({ code: "CACHE_CORRUPT" }));
  });

  test("refuses parts out of order where each holds a head of its own", () => {
    const [first, second] = [1, 2].map((seed) => makeDenseLayer(createRng(seed), { numKvHeads: 1, seqLen: 3, headDim: 4 }));
    const position_n = Uint32Array.of(0, 1, 2);
    const part = (offset: number[], { key_KSD, value_KSD }: DenseLayerKv): Uint8Array =>
      encodeLayer(f32, {
        numKvHeads: 2,
        headDim: 4,
        offset: Uint32Array.from(offset),
        position_n,
        key_nD: key_KSD,
        value_nD: value_KSD,
      })[0];
    const parts = [part([0, 3, 3], first), part([0, 0, 3], second)];
    const twoHeads = { numKvHeads: 2, headDim: 4, seqLen: 3 };
    expect([...decodeLayer("f32", parts, twoHeads).offset]).toEqual([0, 3, 6]);
    expect(() => decodeLayer("f32", parts.reverse(), twoHeads)).toThrow(expect.objectContaining({ code: "CACHE_CORRUPT" }));
  });

  test("refuses a codec of another build by name", () => {
    expect(() => decodeLayer("cachegen(bits=4)", whole, shape)).toThrow(expect.objectContaining({ code: "INCOMPATIBLE_FORMAT" }));
  });

  test("reads parts at any offset of a larger buffer", () => {
    const padded = new Uint8Array(whole[0].byteLength + 3);
    padded.set(whole[0], 3);
    expect(decodeLayer("f32", [padded.subarray(3)], shape)).toEqual(layer);
  });
});
