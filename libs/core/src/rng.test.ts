import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createRng } from "./rng.ts";

describe("createRng()", () => {
  // From an independent implementation with unbounded integers (CPython).
  test.each([
    [0, [3809008728, 1133695204, 53579671, 2891528803]],
    [42, [2837322924, 544945897, 479756282, 3500138142]],
    [0xffffffff, [835879718, 1921286648]],
  ])("gives the golden numbers of seed %i", (seed, words) => {
    const rng = createRng(seed);
    expect(words.map(() => rng.next() * 2 ** 32)).toEqual(words);
  });

  test("stays in range, also for the largest word", () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 2 ** 31 }), (seed, bound) => {
        const rng = createRng(seed);
        for (let i = 0; i < 20; i++) {
          const x = rng.next();
          const n = rng.below(bound);
          expect(x >= 0 && x < 1 && Number.isInteger(n) && n >= 0 && n < bound).toBe(true);
        }
      }),
    );
  });

  test("below() reaches every value about equally often", () => {
    const rng = createRng(3);
    const counts = new Array<number>(7).fill(0);
    for (let i = 0; i < 70_000; i++) counts[rng.below(7)]! += 1;
    // Chi-square with 6 degrees of freedom: 22.5 is exceeded once in a thousand seeds.
    const chiSquare = counts.reduce((sum, count) => sum + (count - 10_000) ** 2 / 10_000, 0);
    expect(chiSquare).toBeLessThan(22.5);
  });
});
