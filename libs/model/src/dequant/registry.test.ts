import { f16FromNumber, numberFromF16 } from "@kvault/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { GGML_TYPES } from "../formats/ggml-types.ts";
import { BLOCK_LAYOUTS, dequantise } from "./registry.ts";

type ElementOf = (block: DataView, i: number) => number;

const f16At = (block: DataView, at: number): number => numberFromF16(block.getUint16(at, true));
/** Bit `i` of the bytes that begin at `at`, counted from the least significant bit of the first. */
const bitAt = (block: DataView, at: number, i: number): number => (block.getUint8(at + Math.floor(i / 8)) >> (i % 8)) & 1;
/** Nibble `i` of a 32-block: bytes hold elements i and i + 16. */
const nibbleAt = (block: DataView, at: number, i: number): number =>
  i < 16 ? block.getUint8(at + i) % 16 : Math.floor(block.getUint8(at + i - 16) / 16);

/** The layouts as their formats describe them, one element at a time: slow and obvious. */
const ORACLES: Record<string, ElementOf> = {
  f32: (block) => block.getFloat32(0, true),
  f16: (block) => f16At(block, 0),
  bf16: (block) => {
    const bits = new DataView(new ArrayBuffer(4));
    bits.setUint16(0, block.getUint16(0, true));
    return bits.getFloat32(0);
  },
  q8_0: (block, i) => f16At(block, 0) * block.getInt8(2 + i),
  q4_0: (block, i) => f16At(block, 0) * (nibbleAt(block, 2, i) - 8),
  q4_1: (block, i) => f16At(block, 0) * nibbleAt(block, 4, i) + f16At(block, 2),
  q5_0: (block, i) => f16At(block, 0) * (nibbleAt(block, 6, i) + 16 * bitAt(block, 2, i) - 16),
  q4_k: (block, i) => {
    const sub = Math.floor(i / 32);
    // sub-blocks 0-3: six low bits of a byte each; 4-7: a nibble, and two bits from the top of the first bytes
    const packed = (s: number): number => block.getUint8(4 + s);
    const scale = sub < 4 ? packed(sub) % 64 : (packed(sub + 4) % 16) + 16 * Math.floor(packed(sub - 4) / 64);
    const min = sub < 4 ? packed(sub + 4) % 64 : Math.floor(packed(sub + 4) / 16) + 16 * Math.floor(packed(sub) / 64);
    const byte = block.getUint8(16 + 32 * Math.floor(sub / 2) + (i % 32));
    const q = sub % 2 === 0 ? byte % 16 : Math.floor(byte / 16);
    return f16At(block, 0) * scale * q - f16At(block, 2) * min;
  },
  q5_k: (block, i) => {
    const sub = Math.floor(i / 32);
    const packed = (s: number): number => block.getUint8(4 + s);
    const scale = sub < 4 ? packed(sub) % 64 : (packed(sub + 4) % 16) + 16 * Math.floor(packed(sub - 4) / 64);
    const min = sub < 4 ? packed(sub + 4) % 64 : Math.floor(packed(sub + 4) / 16) + 16 * Math.floor(packed(sub) / 64);
    const byte = block.getUint8(48 + 32 * Math.floor(sub / 2) + (i % 32));
    const nibble = sub % 2 === 0 ? byte % 16 : Math.floor(byte / 16);
    const fifth = Math.floor(block.getUint8(16 + (i % 32)) / 2 ** sub) % 2;
    return f16At(block, 0) * scale * (nibble + 16 * fifth) - f16At(block, 2) * min;
  },
  q3_k: (block, i) => {
    const sub = Math.floor(i / 16);
    // the ggml reference unpacks the sixteen 6-bit scales as four words of four bytes
    const lowByte = block.getUint8(96 + (sub % 8));
    const low = sub < 8 ? lowByte % 16 : Math.floor(lowByte / 16);
    const high = Math.floor(block.getUint8(104 + (sub % 4)) / 4 ** Math.floor(sub / 4)) % 4;
    const half = Math.floor(i / 128);
    const run = Math.floor((i % 128) / 32);
    const pair = Math.floor(block.getUint8(32 + 32 * half + (i % 32)) / 4 ** run) % 4;
    const third = bitAt(block, i % 32, 4 * half + run);
    return f16At(block, 108) * (low + 16 * high - 32) * (third === 1 ? pair : pair - 4);
  },
  q2_k: (block, i) => {
    const packed = block.getUint8(Math.floor(i / 16));
    const half = Math.floor(i / 128);
    const run = Math.floor((i % 128) / 32);
    const q = Math.floor(block.getUint8(16 + 32 * half + (i % 32)) / 4 ** run) % 4;
    return f16At(block, 80) * (packed % 16) * q - f16At(block, 82) * Math.floor(packed / 16);
  },
  iq4_nl: (block, i) => {
    const levels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
    return f16At(block, 0) * (levels[nibbleAt(block, 2, i)] as number);
  },
  q6_k: (block, i) => {
    const half = Math.floor(i / 128);
    const run = Math.floor((i % 128) / 32);
    const lowByte = block.getUint8(64 * half + (i % 32) + (run % 2 === 1 ? 32 : 0));
    const low = run < 2 ? lowByte % 16 : Math.floor(lowByte / 16);
    const high = Math.floor(block.getUint8(128 + 32 * half + (i % 32)) / 4 ** run) % 4;
    return f16At(block, 208) * block.getInt8(192 + Math.floor(i / 16)) * (low + 16 * high - 32);
  },
};

/** Where each layout keeps f16 scales; random bits there may be NaN, which no file has. */
const SCALES_AT: Record<string, readonly number[]> = {
  q8_0: [0],
  q4_0: [0],
  q4_1: [0, 2],
  q5_0: [0],
  q4_k: [0, 2],
  q5_k: [0, 2],
  q3_k: [108],
  q2_k: [80, 82],
  iq4_nl: [0],
  q6_k: [208],
};

describe.each([...BLOCK_LAYOUTS])("dequantise() of %s", (type, layout) => {
  const element = ORACLES[type] as ElementOf;
  const blocks = fc
    .uint8Array({ minLength: 3 * layout.blockBytes, maxLength: 3 * layout.blockBytes })
    .chain((bytes) =>
      fc.array(fc.double({ min: -4, max: 4, noNaN: true }), { minLength: 6, maxLength: 6 }).map((scales) => ({ bytes, scales })),
    )
    .map(({ bytes, scales }) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      for (let b = 0; b < 3; b++) {
        for (const [i, at] of (SCALES_AT[type] ?? []).entries()) {
          view.setUint16(b * layout.blockBytes + at, f16FromNumber(scales[2 * b + i] as number), true);
        }
      }
      return bytes;
    });

  test("equals the format's description, element by element", () => {
    fc.assert(
      fc.property(blocks, (bytes) => {
        const values = dequantise(type, bytes);
        const expected = Float32Array.from({ length: 3 * layout.blockElements }, (_, i) => {
          const block = Math.floor(i / layout.blockElements);
          const view = new DataView(bytes.buffer, bytes.byteOffset + block * layout.blockBytes, layout.blockBytes);
          return element(view, i % layout.blockElements);
        });
        expect(values).toEqual(expected);
      }),
    );
  });

  test("has the size that GGUF files give it", () => {
    const known = [...GGML_TYPES.values()].find(({ name }) => name === type);
    expect(known).toEqual({ name: type, blockElements: layout.blockElements, blockBytes: layout.blockBytes });
  });

  test("refuses bytes that are not whole blocks, and an output of another size", () => {
    expect(() => dequantise(type, new Uint8Array(2 * layout.blockBytes + 1), new Float32Array(1))).toThrow(RangeError);
    expect(() => dequantise(type, new Uint8Array(layout.blockBytes), new Float32Array(layout.blockElements + 1))).toThrow(
      RangeError,
    );
  });
});

describe("dequantise()", () => {
  test("q4_0: a block made by hand", () => {
    const block = new Uint8Array(18);
    new DataView(block.buffer).setUint16(0, f16FromNumber(0.5), true);
    block[2] = 0xf0; // element 0 is 0 - 8, element 16 is 15 - 8
    block[17] = 0x18; // element 15 is 8 - 8, element 31 is 1 - 8
    const values = dequantise("q4_0", block);
    expect([values[0], values[16], values[15], values[31], values[1]]).toEqual([-4, 3.5, 0, -3.5, -4]);
  });

  test("q5_0: the fifth bits of a block made by hand", () => {
    const block = new Uint8Array(22);
    new DataView(block.buffer).setUint16(0, f16FromNumber(2), true);
    new DataView(block.buffer).setUint32(2, (1 << 3) | (1 << 20), true);
    const values = dequantise("q5_0", block);
    expect([values[0], values[3], values[19], values[20]]).toEqual([-32, 0, -32, 0]);
  });

  test("refuses a type without a decoder, naming those there are", () => {
    expect(() => dequantise("iq3_s", new Uint8Array(110))).toThrow(/"iq3_s": supported are .*q6_k/);
  });
});
