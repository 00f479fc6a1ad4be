import { describe, expect, test } from "vitest";
import { KvaultError } from "./errors.ts";
import { decodeSafetensors, encodeSafetensors, type NamedTensor } from "./safetensors.ts";

const tensors = new Map<string, NamedTensor>([
  ["b", { dtype: "U8", shape: [3], data: Uint8Array.of(1, 2, 3) }],
  ["a", { dtype: "F16", shape: [2, 1], data: Uint8Array.of(4, 5, 6, 7) }],
  ["empty", { dtype: "F32", shape: [0, 8], data: new Uint8Array(0) }],
]);

/** A file with this header and `dataBytes` of zeros. */
function fileOf(header: Record<string, unknown>, dataBytes: number): Uint8Array {
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

  test("refuses a file cut at any byte", () => {
    const bytes = encodeSafetensors(tensors);
    for (let length = 0; length < bytes.byteLength; length++) {
      expect(() => decodeSafetensors(bytes.subarray(0, length))).toThrow(expect.objectContaining({ code: "CACHE_CORRUPT" }));
    }
  });

  test("refuses any flipped bit of the header, but for a letter of a name and a side of nothing", () => {
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
