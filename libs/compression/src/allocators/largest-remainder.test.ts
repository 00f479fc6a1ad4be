import fc from "fast-check";
import { expect, test } from "vitest";
import { largestRemainder } from "./largest-remainder.ts";

test("gives what floors leave to the largest remainders", () => {
  expect([...largestRemainder(Float64Array.of(1.6, 3.2), 5, 0, 10)]).toEqual([2, 3]);
  expect([...largestRemainder(Float64Array.of(1.6, 3.2), 6, 0, 10)]).toEqual([2, 4]);
  expect([...largestRemainder(Float64Array.of(14.8, 5.2), 20, 0, 20)]).toEqual([15, 5]);
});

test("keeps to the total and the bounds, and within one of the ideal where no bound is met", () => {
  const ideals = fc.array(fc.double({ min: 0, max: 50, noNaN: true }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(ideals, (list) => {
      const ideal = Float64Array.from(list);
      const total = Math.round(list.reduce((a, b) => a + b));
      const share = largestRemainder(ideal, total, 0, 100);
      expect(share.reduce((a, b) => a + b)).toBe(total);
      for (const [i, x] of list.entries()) expect(Math.abs(share[i] - x)).toBeLessThanOrEqual(1 + 1e-9);
      const cap = Math.ceil(total / list.length);
      const bounded = largestRemainder(ideal, total, 0, cap);
      expect(bounded.reduce((a, b) => a + b)).toBe(total);
      expect(Math.max(...bounded)).toBeLessThanOrEqual(cap);
    }),
    { numRuns: 300 },
  );
});

test("refuses a total that the bounds cannot hold", () => {
  expect(() => largestRemainder(Float64Array.of(1, 1), 5, 0, 2)).toThrow(RangeError);
  expect(() => largestRemainder(Float64Array.of(1, 1), 1, 1, 2)).toThrow(RangeError);
});
