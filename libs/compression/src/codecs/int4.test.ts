import { expect, test } from "vitest";
import { createDefault } from "../testing/check.ts";
import { int4 } from "./int4.ts";

test("int4 takes D + 8 bytes for a key and its value of 64 channels", () => {
  const layout = { numKvHeads: 1, headDim: 64, offset: Uint32Array.of(0, 10), position_n: new Uint32Array(10) };
  expect(createDefault(int4).encodedBytes(layout)).toBe(10 * 72);
});

test("int4 scales every group of channels by itself", () => {
  const codec = int4.create({ group: 8 });
  const key_nD = Float32Array.from({ length: 16 }, (_, d) => (d < 8 ? d / 1000 : d * 1000));
  const layer = {
    ...{ numKvHeads: 1, headDim: 16, offset: Uint32Array.of(0, 1), position_n: Uint32Array.of(3) },
    ...{ key_nD, value_nD: new Float32Array(16) },
  };
  const found = codec.decode(codec.encode(layer), layer);
  for (let d = 0; d < 8; d++) expect(Math.abs(found.key_nD[d] - key_nD[d])).toBeLessThan(0.00025);
  expect(found.value_nD).toEqual(layer.value_nD);
});
