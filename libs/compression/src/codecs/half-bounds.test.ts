import { numberFromF16 } from "@kvault/core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { f16Down, f16Up } from "./half-bounds.ts";

test("f16Up() and f16Down() enclose a number as tightly as halves can", () => {
  const numbers = fc.oneof(fc.float({ min: -65000, max: 65000, noNaN: true }), fc.double({ min: -1e-6, max: 1e-6, noNaN: true }));
  fc.assert(
    fc.property(numbers, (x) => {
      const down = numberFromF16(f16Down(x));
      expect(down).toBeLessThanOrEqual(x);
      const up = numberFromF16(f16Up(Math.abs(x)));
      expect(up).toBeGreaterThanOrEqual(Math.abs(x));
      if (down !== x) expect(x - down).toBeLessThanOrEqual(Math.max(2 ** -24, Math.abs(x) * 2 ** -10));
      if (up !== Math.abs(x)) expect(up - Math.abs(x)).toBeLessThanOrEqual(Math.max(2 ** -24, Math.abs(x) * 2 ** -10));
    }),
    { numRuns: 1000 },
  );
});

test("f16Down() and f16Up() leave halves alone and go to infinity where there are none", () => {
  expect(f16Down(0.5)).toBe(0x3800);
  expect(f16Up(0)).toBe(0);
  expect(f16Down(-1e-12)).toBe(0x8001);
  expect(f16Down(1e-12)).toBe(0);
  expect(f16Up(70_000)).toBe(0x7c00);
  expect(f16Down(-70_000)).toBe(0xfc00);
});
