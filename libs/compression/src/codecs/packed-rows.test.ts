import fc from "fast-check";
import { expect, test } from "vitest";
import { type CodeBits, packedRowBytes, packRow, unpackRow } from "./packed-rows.ts";

/** Bit by bit. */
function packReference(codes: readonly number[], bits: CodeBits): number[] {
  const bytes = new Array<number>(Math.ceil((codes.length * bits) / 8)).fill(0);
  for (const [d, code] of codes.entries()) {
    for (let b = 0; b < bits; b++) {
      const at = d * bits + b;
      if ((code >> b) & 1) bytes[at >> 3] |= 1 << (at & 7);
    }
  }
  return bytes;
}

test.each([2, 3, 4, 8] as const)("rows of %i bits pack as the bit string they are, and come back", (bits) => {
  const rows = fc.array(fc.integer({ min: 0, max: 2 ** bits - 1 }), { maxLength: 37 });
  fc.assert(
    fc.property(rows, fc.integer({ min: 0, max: 3 }), (codes, base) => {
      const D = codes.length;
      const out = new Uint8Array(base + packedRowBytes(D, bits) + 2);
      packRow(Uint8Array.from(codes), bits, out, base);
      expect([...out.subarray(base)]).toEqual([...packReference(codes, bits), 0, 0]);
      const back = new Uint8Array(D);
      unpackRow(out, base, bits, back);
      expect([...back]).toEqual(codes);
    }),
    { numRuns: 300 },
  );
});

test("the first code is in the lowest bits", () => {
  const out = new Uint8Array(1);
  packRow(Uint8Array.of(1, 0, 3, 2), 2, out, 0);
  expect(out[0]).toBe(0b10110001);
});
