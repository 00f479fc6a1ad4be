import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { KvaultError } from "./errors.ts";
import { DTYPE_BYTES, type Dtype, decodeSafetensors, elementCount, encodeSafetensors, type NamedTensor } from "./safetensors.ts";

const tensors = new Map<string, NamedTensor>([
  ["b", { dtype: "U8", shape: [3], data: Uint8Array.of(1, 2, 3) }],
  ["a", { dtype: "F16", shape: [2, 1], data: Uint8Array.of(4, 5, 6, 7) }],
  ["empty", { dtype: "F32", shape: [0, 8], data: new Uint8Array(0) }],
]);

/** A file with this header and `dataBytes` of zeros. */
function fileOf(header: unknown, dataBytes: number): Uint8Array {
  const json = Buffer.from(JSON.stringify(header));
  const out = Buffer.alloc(8 + json.byteLength + dataBytes);
  out.writeBigUInt64LE(BigInt(json.byteLength));
  json.copy(out, 8);
  return out;
}

const u8 = (begin: number, end: number): unknown => ({ dtype: "U8", shape: [end - begin], data_offsets: [begin, end] });

describe("encodeSafetensors()", () => {
  test("is read back by decodeSafetensors()", () => {
    const { tensors: found, metadata } = decodeSafetensors(encodeSafetensors(tensors, { made: "here" }));
    expect(metadata).toEqual({ made: "here" });
    expect(new Map([...found].map(([name, tensor]) => [name, { ...tensor, data: Uint8Array.from(tensor.data) }]))).toEqual(
      tensors,
    );
  });

  test("gives the same bytes for any order of tensors, data aligned to 64", () => {
    const bytes = encodeSafetensors(tensors);
    expect(encodeSafetensors(new Map([...tensors].reverse()))).toEqual(bytes);
    expect((8 + Number(new DataView(bytes.buffer).getBigUint64(0, true))) % 64).toBe(0);
  });

  test("is read back for any tensors and names, each aligned to its element", () => {
    const tensor = fc
      .tuple(fc.constantFrom(...(Object.keys(DTYPE_BYTES) as Dtype[])), fc.array(fc.nat(4), { maxLength: 3 }), fc.nat(255))
      .map(([dtype, shape, fill]): NamedTensor => {
        return { dtype, shape, data: new Uint8Array(elementCount(shape) * DTYPE_BYTES[dtype]).fill(fill) };
      });
    const name = fc.oneof(fc.string(), fc.constantFrom("__proto__", "constructor", "0", "10", "k", "pos"));
    fc.assert(
      fc.property(fc.array(fc.tuple(name, tensor), { maxLength: 6 }), fc.dictionary(name, fc.string()), (pairs, metadata) => {
        const some = new Map(pairs.filter(([key]) => key !== "__metadata__"));
        const found = decodeSafetensors(encodeSafetensors(some, metadata));
        expect(Object.entries(found.metadata).sort()).toEqual(Object.entries(metadata).sort());
        expect([...found.tensors.keys()].sort()).toEqual([...some.keys()].sort());
        for (const [key, { dtype, shape, data }] of found.tensors) {
          expect({ dtype, shape, data: Uint8Array.from(data) }).toEqual(some.get(key));
          expect(data.byteOffset % DTYPE_BYTES[dtype]).toBe(0);
        }
      }),
    );
  });

  test("refuses the name that holds metadata", () => {
    const wrong = new Map<string, NamedTensor>([["__metadata__", { dtype: "U8", shape: [0], data: new Uint8Array(0) }]]);
    expect(() => encodeSafetensors(wrong)).toThrow("reserved");
  });

  test("refuses data of another size than the shape says", () => {
    const wrong = new Map<string, NamedTensor>([["a", { dtype: "F32", shape: [2], data: new Uint8Array(7) }]]);
    expect(() => encodeSafetensors(wrong)).toThrow(RangeError);
  });
});

describe("decodeSafetensors()", () => {
  test.each([
    ["a hole between tensors", { a: u8(0, 2), b: u8(3, 5) }, 5],
    ["a hole before the first", { a: u8(1, 5) }, 5],
    ["overlapping tensors", { a: u8(0, 4), b: u8(2, 5) }, 5],
    ["bytes after the last", { a: u8(0, 4) }, 5],
    ["a tensor past the end", { a: u8(0, 6) }, 5],
  ])("refuses %s", (_what, header, dataBytes) => {
    expect(() => decodeSafetensors(fileOf(header, dataBytes))).toThrow(expect.objectContaining({ code: "CACHE_CORRUPT" }));
  });

  test.each<[string, unknown]>([
    ["no object", [1]],
    ["null", null],
    ["a tensor that is no object", { a: 5 }],
    ["a tensor without offsets", { a: { dtype: "U8", shape: [5] } }],
    ["an unknown dtype", { a: { dtype: "F99", shape: [5], data_offsets: [0, 5] } }],
    ["a dtype every object has", { a: { dtype: "toString", shape: [5], data_offsets: [0, 5] } }],
    ["a negative size", { a: { dtype: "U8", shape: [-5, -1], data_offsets: [0, 5] } }],
    ["a fraction of a size", { a: { dtype: "U8", shape: [2.5, 2], data_offsets: [0, 5] } }],
    ["sizes whose product overflows", { a: { dtype: "U8", shape: new Array(8).fill(2 ** 53 - 1), data_offsets: [0, 5] } }],
    ["more dimensions than anyone has", { a: { dtype: "U8", shape: [5, 1, 1, 1, 1, 1, 1, 1, 1], data_offsets: [0, 5] } }],
    ["offsets that fall", { a: { dtype: "U8", shape: [5], data_offsets: [5, 0] } }],
    ["three offsets", { a: { dtype: "U8", shape: [5], data_offsets: [0, 5, 5] } }],
    ["offsets past exact integers", { a: { dtype: "U8", shape: [5], data_offsets: [2 ** 60, 2 ** 60 + 5] } }],
    ["metadata that is no map", { __metadata__: ["x"], a: u8(0, 5) }],
    ["metadata that is no text", { __metadata__: { x: 1 }, a: u8(0, 5) }],
  ])("refuses a header with %s", (_what, header) => {
    expect(() => decodeSafetensors(fileOf(header, 5))).toThrow(expect.objectContaining({ code: "CACHE_CORRUPT" }));
  });

  test("refuses a header length beyond the file or any sense", () => {
    for (const length of [6n, 2n ** 40n, 2n ** 64n - 1n]) {
      const bytes = Buffer.alloc(13);
      bytes.writeBigUInt64LE(length);
      expect(() => decodeSafetensors(bytes)).toThrow(`header of ${length} bytes in a file of 13`);
    }
  });

  test("refuses text that is not UTF-8, and a byte order mark", () => {
    for (const name of [Buffer.from([0xff]), Buffer.from("\ufeff")]) {
      const json = name[0] === 0xff ? [Buffer.from('{"'), name, Buffer.from('":{}}')] : [name, Buffer.from("{}")];
      const bytes = Buffer.concat([Buffer.alloc(8), ...json]);
      bytes.writeBigUInt64LE(BigInt(bytes.byteLength - 8));
      expect(() => decodeSafetensors(bytes)).toThrow("header is not JSON");
    }
  });

  test("gives views, not copies", () => {
    const bytes = encodeSafetensors(tensors);
    expect(decodeSafetensors(bytes).tensors.get("b")?.data.buffer).toBe(bytes.buffer);
  });

  test("refuses a file cut at any byte", () => {
    const bytes = encodeSafetensors(tensors);
    for (let length = 0; length < bytes.byteLength; length++) {
      expect(() => decodeSafetensors(bytes.subarray(0, length))).toThrow(expect.objectContaining({ code: "CACHE_CORRUPT" }));
    }
  });

  test("never reads a header with a flipped bit as the one that was written", () => {
    const bytes = encodeSafetensors(tensors);
    const whole = outlineOf(bytes);
    const headerEnd = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
    for (let bit = 0; bit < headerEnd * 8; bit++) {
      const damaged = Uint8Array.from(bytes);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      expect(outlineOf(damaged)).not.toEqual(whole);
    }
  });
});

/** Names and shapes as read, or the code of the refusal. */
function outlineOf(bytes: Uint8Array): unknown {
  try {
    return [...decodeSafetensors(bytes).tensors].map(([name, { dtype, shape }]) => [name, dtype, shape]);
  } catch (error) {
    return error instanceof KvaultError ? error.code : error;
  }
}
