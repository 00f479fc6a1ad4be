import { alignedView, decodeF16, type RaggedLayerKv } from "@kvault/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createDefault } from "../testing/check.ts";
import { int8 } from "./int8.ts";

const codec = createDefault(int8);

/** One head, `rows` as keys and as values. */
function layerOf(rows: readonly (readonly number[])[]): RaggedLayerKv {
  const flat = Float32Array.from(rows.flat());
  return {
    numKvHeads: 1,
    headDim: rows[0].length,
    offset: Uint32Array.of(0, rows.length),
    position_n: Uint32Array.from(rows.keys()),
    key_nD: flat,
    value_nD: Float32Array.from(flat),
  };
}

const decodedKeys = (layer: RaggedLayerKv): Float32Array => codec.decode(codec.encode(layer), layer).key_nD;

describe("int8", () => {
  test("is off by at most half a stored scale", () => {
    const finite = fc.oneof(
      fc.float({ min: -1000, max: 1000, noNaN: true }),
      fc.float({ min: Math.fround(-1e-6), max: Math.fround(1e-6), noNaN: true }),
    );
    const rows = fc.array(fc.array(finite, { minLength: 5, maxLength: 5 }), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(rows, (list) => {
        const layer = layerOf(list);
        const tensors = codec.encode(layer);
        const scale_n = decodeF16(alignedView(tensors.get("k.scale")!.data, Uint16Array));
        const key_nD = codec.decode(tensors, layer).key_nD;
        for (let i = 0; i < key_nD.length; i++) {
          const rounding = Math.abs(layer.key_nD[i]) * 2 ** -22 + Math.abs(Math.min(...list[Math.floor(i / 5)])) * 2 ** -22;
          expect(Math.abs(key_nD[i] - layer.key_nD[i])).toBeLessThanOrEqual(scale_n[Math.floor(i / 5)] / 2 + rounding);
        }
      }),
      { numRuns: 300 },
    );
  });

  test("gives rows of zeros and of one value back exactly", () => {
    const layer = layerOf([
      [0, 0, 0],
      [Math.PI, Math.PI, Math.PI],
      [-1e-20, -1e-20, -1e-20],
      [1e30, 1e30, 1e30],
    ]);
    expect(decodedKeys(layer)).toEqual(layer.key_nD);
  });

  test("gives the smallest value of a row back exactly", () => {
    expect(decodedKeys(layerOf([[-0.123456, 3, 100]]))[0]).toBe(Math.fround(-0.123456));
  });

  test("rounds codes half to even", () => {
    const layer = layerOf([[0, 0.5, 1.5, 2.5, 255]]);
    expect([...codec.encode(layer).get("k")!.data]).toEqual([0, 0, 2, 2, 255]);
  });

  test("computes codes with the scale as stored, which never clips", () => {
    const layer = layerOf([[0, 254.9, 255.3]]); // scale 1.00118 is not a half; the next one up is 1.001953
    expect([...codec.encode(layer).get("k")!.data]).toEqual([0, 254, 255]);
  });

  test("survives ranges below the smallest half and refuses those above the largest", () => {
    const tiny = layerOf([[0, 1e-12, 2e-12]]);
    expect([...decodedKeys(tiny)].every(Number.isFinite)).toBe(true);
    expect(() => codec.encode(layerOf([[-3e7, 3e7]]))).toThrow(expect.objectContaining({ code: "SPEC_INVALID" }));
  });

  test("is 0.55 of f16 at 64 values a row", () => {
    const layout = { numKvHeads: 1, headDim: 64, offset: Uint32Array.of(0, 10), position_n: new Uint32Array(10) };
    expect(codec.encodedBytes(layout)).toBe(2 * 10 * 70);
  });
});
