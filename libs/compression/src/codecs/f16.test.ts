import { expect, test } from "vitest";
import { createDefault } from "../testing/check.ts";
import { f16 } from "./f16.ts";

const layout = { numKvHeads: 1, headDim: 2, offset: Uint32Array.of(0, 1), position_n: Uint32Array.of(0) };

test("f16 refuses values that only infinity could stand for", () => {
  const codec = createDefault(f16);
  const value_nD = Float32Array.of(65519, -65519);
  expect(codec.decode(codec.encode({ ...layout, key_nD: value_nD, value_nD }), layout).key_nD).toEqual(
    Float32Array.of(65504, -65504),
  );
  for (const found of [65520, -1e9]) {
    expect(() => codec.encode({ ...layout, key_nD: Float32Array.of(0, found), value_nD })).toThrow(
      expect.objectContaining({ code: "SPEC_INVALID", message: expect.stringContaining("key as f16") }),
    );
  }
});
