import { isKvaultError } from "@kvault/core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { integersCeiling, rowsCeiling, StreamReader, StreamWriter } from "./symbol-streams.ts";

const integers = fc
  .array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 0xffff_ffff })), { maxLength: 300 })
  .map((list) => Uint32Array.from(list));

const codes = fc
  .record({
    counts: fc.array(fc.integer({ min: 0, max: 60 }), { minLength: 1, maxLength: 3 }),
    headDim: fc.integer({ min: 1, max: 7 }),
    bits: fc.constantFrom(2 as const, 3 as const, 4 as const, 8 as const),
  })
  .chain(({ counts, headDim, bits }) => {
    const offset = Uint32Array.from([0, ...counts]);
    for (let k = 0; k < counts.length; k++) offset[k + 1] += offset[k];
    const length = offset[counts.length] * headDim;
    const code = fc.array(fc.integer({ min: 0, max: 2 ** bits - 1 }), { minLength: length, maxLength: length });
    return code.map((list) => ({ layout: { offset, headDim }, bits, code_nD: Uint8Array.from(list) }));
  });

test("streams of every kind come back in their order, none above its ceiling", () => {
  fc.assert(
    fc.property(integers, codes, integers, (first, rows, last) => {
      const writer = new StreamWriter();
      writer.putIntegers(first);
      writer.putRows(rows.code_nD, rows.layout, rows.bits);
      writer.putIntegers(last);
      const data = writer.bytes();
      const ceiling = integersCeiling(first.length) + rowsCeiling(rows.layout, rows.bits) + integersCeiling(last.length);
      expect(data.length).toBeLessThanOrEqual(ceiling);
      const reader = new StreamReader(data);
      expect(reader.integers(first.length)).toEqual(first);
      expect(reader.rows(rows.layout, rows.bits)).toEqual(rows.code_nD);
      expect(reader.integers(last.length)).toEqual(last);
      reader.end();
    }),
    { numRuns: 200 },
  );
});

test("bytes that no writer wrote are read or refused by name, never otherwise", () => {
  fc.assert(
    fc.property(codes, fc.nat(), fc.integer({ min: 1, max: 255 }), fc.boolean(), (rows, at, flip, isCut) => {
      const writer = new StreamWriter();
      writer.putRows(rows.code_nD, rows.layout, rows.bits);
      const sound = writer.bytes();
      const data = isCut
        ? sound.subarray(0, at % sound.length)
        : sound.map((byte, i) => (i === at % sound.length ? byte ^ flip : byte));
      try {
        const reader = new StreamReader(data);
        reader.rows(rows.layout, rows.bits);
        reader.end();
      } catch (error) {
        expect(isKvaultError(error, "CACHE_CORRUPT"), String(error)).toBe(true);
      }
    }),
    { numRuns: 500 },
  );
});

test("bytes after the last stream are refused", () => {
  expect(() => new StreamReader(Uint8Array.of(0)).end()).toThrow(expect.objectContaining({ code: "CACHE_CORRUPT" }));
});
