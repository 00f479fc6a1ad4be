import fc from "fast-check";
import { expect, test } from "vitest";
import { shareByWeight } from "./head-shares.ts";

test("shareByWeight() gives a floor and the rest by weight", () => {
  expect([...shareByWeight(Float64Array.of(1, 3), 100, 40, 0)]).toEqual([10, 30]);
  expect([...shareByWeight(Float64Array.of(1, 3), 100, 40, 0.5)]).toEqual([15, 25]);
  expect([...shareByWeight(Float64Array.of(0, 0, 0), 100, 9, 0)]).toEqual([3, 3, 3]);
});

test("shareByWeight() passes on by weight what a full head cannot take", () => {
  expect([...shareByWeight(Float64Array.of(10, 1, 3), 20, 40, 0)]).toEqual([20, 5, 15]);
  expect([...shareByWeight(Float64Array.of(1, 0, 0), 20, 40, 0)]).toEqual([20, 10, 10]);
});

test("shareByWeight() is exact and never gives a heavier head less", () => {
  const weights = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 9 });
  fc.assert(
    fc.property(weights, fc.integer({ min: 1, max: 30 }), fc.nat(), fc.constantFrom(0, 0.3, 1), (list, ranked, t, floor) => {
      const total = t % (list.length * ranked + 1);
      const share = shareByWeight(Float64Array.from(list), ranked, total, floor);
      expect(share.reduce((a, b) => a + b)).toBe(total);
      for (const [i, a] of list.entries()) {
        for (const [j, b] of list.entries()) if (a > b) expect(share[i]).toBeGreaterThanOrEqual(share[j] - 1);
      }
    }),
    { numRuns: 300 },
  );
});
