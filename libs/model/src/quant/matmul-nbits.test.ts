import { createRng, f16FromNumber } from "@kvault/core";
import { describe, expect, test } from "vitest";
import { blockLayout, dequantise } from "../dequant/registry.ts";
import { fromMatMulNBits, LOSSLESS_TYPES, toMatMulNBits } from "./matmul-nbits.ts";

const K = 512;
const N = 6;

/** f16 fields per block, and the range their values have in files. */
const SCALES: Record<string, readonly { readonly at: number; readonly min: number; readonly max: number }[]> = {
  q8_0: [{ at: 0, min: -1, max: 1 }],
  q5_0: [{ at: 0, min: -1, max: 1 }],
  q4_0: [{ at: 0, min: -1, max: 1 }],
  q6_k: [{ at: 208, min: -0.01, max: 0.01 }],
  q3_k: [{ at: 108, min: -0.01, max: 0.01 }],
  iq4_nl: [{ at: 0, min: -0.01, max: 0.01 }],
  q5_k: [
    { at: 0, min: 0, max: 0.01 },
    { at: 2, min: 0, max: 0.1 },
  ],
  q2_k: [
    { at: 80, min: 0, max: 0.05 },
    { at: 82, min: 0, max: 0.1 },
  ],
  q4_1: [
    { at: 0, min: 0, max: 0.1 },
    { at: 2, min: -1.5, max: 0.1 },
  ],
  q4_k: [
    { at: 0, min: 0, max: 0.01 },
    { at: 2, min: 0, max: 0.1 },
  ],
};

/** A `[K, N]` tensor of random blocks. */
function randomTensor(type: string, seed: number): Uint8Array {
  const { blockElements, blockBytes } = blockLayout(type);
  const rng = createRng(seed);
  const bytes = Uint8Array.from({ length: ((K * N) / blockElements) * blockBytes }, () => rng.below(256));
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < bytes.byteLength; block += blockBytes) {
    for (const { at, min, max } of SCALES[type] ?? [])
      view.setUint16(block + at, f16FromNumber(min + (max - min) * rng.next()), true);
  }
  return bytes;
}

/** Largest error of a weight as a fraction of the largest weight of its block of 32. */
function worstError(exact: Float32Array, got: Float32Array): number {
  let worst = 0;
  for (let block = 0; block < exact.length; block += 32) {
    const values = [...exact.subarray(block, block + 32)];
    const largest = Math.max(...values.map(Math.abs));
    values.forEach((value, j) => {
      worst = Math.max(worst, Math.abs((got[block + j] as number) - value) / (largest || 1));
    });
  }
  return worst;
}

describe("toMatMulNBits()", () => {
  test.each([...LOSSLESS_TYPES])("loses nothing of %s", (type) => {
    for (let seed = 1; seed <= 20; seed++) {
      const bytes = randomTensor(type, seed);
      expect(fromMatMulNBits(toMatMulNBits(type, bytes, K, N))).toEqual(dequantise(type, bytes));
    }
  });

  test.each(["q4_1", "q4_k", "q5_k", "q2_k"])("keeps %s within 1/127 of a block's largest weight", (type) => {
    for (let seed = 1; seed <= 20; seed++) {
      const bytes = randomTensor(type, seed);
      const weight = toMatMulNBits(type, bytes, K, N);
      expect(weight.zeroPoint).toHaveLength((K / weight.blockSize) * N);
      expect(worstError(dequantise(type, bytes), fromMatMulNBits(weight))).toBeLessThan(1 / 127);
    }
  });

  const encodings: [type: string, encode: (values: Float32Array) => ArrayBufferLike][] = [
    ["f32", (values) => values.buffer],
    ["f16", (values) => Uint16Array.from(values, f16FromNumber).buffer],
    ["bf16", (values) => Uint16Array.from(new Uint32Array(values.buffer), (word) => word >>> 16).buffer],
  ];
  test.each(encodings)("keeps %s within 1/254 of a block's largest weight", (type, encode) => {
    const rng = createRng(5);
    const bytes = new Uint8Array(encode(Float32Array.from({ length: K * N }, () => rng.next() - 0.5)));
    const worst = worstError(dequantise(type, bytes), fromMatMulNBits(toMatMulNBits(type, bytes, K, N)));
    expect(worst).toBeLessThan(1 / 254 + 1e-6);
    expect(worst).toBeGreaterThan(0);
  });

  test("gives operands the shapes the operator wants", () => {
    const eight = toMatMulNBits("q6_k", randomTensor("q6_k", 1), K, N);
    expect(eight).toMatchObject({ bits: 8, blockSize: 16, K, N });
    expect(eight.quant).toHaveLength(N * K);
    expect(eight.scale).toHaveLength((N * K) / 16);
    expect(eight.zeroPoint).toBeUndefined();
    const four = toMatMulNBits("q4_0", randomTensor("q4_0", 1), K, N);
    expect(four).toMatchObject({ bits: 4, blockSize: 32 });
    expect(four.quant).toHaveLength((N * K) / 2);
  });

  test("maps a block of zeros to zeros", () => {
    for (const type of ["q4_1", "q4_k", "f32", "q8_0"]) {
      const { blockBytes, blockElements } = blockLayout(type);
      const weight = toMatMulNBits(type, new Uint8Array((256 / blockElements) * blockBytes), 256, 1);
      expect([...fromMatMulNBits(weight)].every((value) => value === 0)).toBe(true);
    }
  });

  test("refuses sizes that do not agree, and a type it cannot map", () => {
    expect(() => toMatMulNBits("q8_0", new Uint8Array(34), 32, 2)).toThrow(/needs 68 bytes, found 34/);
    expect(() => toMatMulNBits("q4_k", new Uint8Array(144), 128, 2)).toThrow(/not a multiple of 256/);
    expect(() => toMatMulNBits("f32", new Uint8Array(64), 16, 1)).toThrow(/not a multiple of 32/);
    expect(() => toMatMulNBits("iq3_s", new Uint8Array(110), 256, 1)).toThrow(/"iq3_s"/);
  });
});
