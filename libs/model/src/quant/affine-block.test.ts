import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fitAffineBlock } from "./affine-block.ts";

/** The 16 levels as stored, and as they should be. */
function levels(d: number, m: number): { got: number[]; exact: number[] } {
  const { scale, zeroPoint, stored } = fitAffineBlock(d, m);
  expect(Number.isInteger(zeroPoint) && zeroPoint >= 0 && zeroPoint <= 255).toBe(true);
  return {
    got: Array.from(stored.subarray(0, 16), (value) => scale * (value - zeroPoint)),
    exact: Array.from({ length: 16 }, (_, q) => d * q + m),
  };
}

const worst = ({ got, exact }: { got: number[]; exact: number[] }): number =>
  Math.max(...exact.map((value, q) => Math.abs(value - (got[q] as number))));

describe("fitAffineBlock()", () => {
  test("is exact when zero lies on a level", () => {
    for (const zeroLevel of [0, 3, 8, 15]) expect(worst(levels(0.25, -0.25 * zeroLevel))).toBeLessThan(1e-12);
  });

  test("is exact when zero lies a simple fraction between levels", () => {
    expect(worst(levels(1, -7.5))).toBeLessThan(1e-12);
    expect(worst(levels(3, -7))).toBeLessThan(1e-12);
  });

  test("misses by less than 1/36 of a step when zero lies among the levels, as in weights", () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-4, max: 10, noNaN: true }), fc.double({ min: 0, max: 15, noNaN: true }), (d, zeroLevel) => {
        expect(worst(levels(d, -d * zeroLevel))).toBeLessThan(d / 36);
      }),
    );
  });

  test("misses by at most half a grid step of plain 8-bit rounding for any block", () => {
    fc.assert(
      fc.property(fc.double({ min: -10, max: 10, noNaN: true }), fc.double({ min: -1000, max: 1000, noNaN: true }), (d, m) => {
        const both = levels(d, m);
        const largest = Math.max(...both.exact.map(Math.abs));
        expect(worst(both)).toBeLessThanOrEqual(largest / 254 + 1e-9);
      }),
      { numRuns: 1000 },
    );
  });

  test("stores a constant block exactly", () => {
    const { got } = levels(0, -0.75);
    for (const value of got) expect(value).toBeCloseTo(-0.75, 12);
  });

  test.each([4, 32])("reaches every one of %i levels within half a step of the grid", (count) => {
    fc.assert(
      fc.property(fc.double({ min: -1, max: 1, noNaN: true }), fc.double({ min: -2, max: 0, noNaN: true }), (d, m) => {
        const { scale, zeroPoint, stored } = fitAffineBlock(d, m, count);
        const exact = Array.from({ length: count }, (_, q) => d * q + m);
        const largest = Math.max(...exact.map(Math.abs));
        for (const [q, value] of exact.entries()) {
          expect(Math.abs(scale * ((stored[q] as number) - zeroPoint) - value)).toBeLessThan(largest / 127 + 1e-12);
        }
      }),
    );
  });
});
