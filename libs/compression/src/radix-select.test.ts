import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cutAtCount, orderKey, scoreBits } from "./radix-select.ts";

const keyOf = (x: number): number => orderKey(scoreBits(Float32Array.of(x))[0]);

describe("orderKey()", () => {
  test("orders as the floats do", () => {
    const ascending = [-Infinity, -3.4e38, -2, -1, -1e-45, 0, 1e-45, 1e-30, 1, 1.0000001, 2, 3.4e38, Infinity];
    const keys = ascending.map(keyOf);
    for (let i = 1; i < keys.length; i++) expect(keys[i]).toBeGreaterThan(keys[i - 1]);
  });

  test("gives -0 the key of 0", () => {
    expect(keyOf(-0)).toBe(keyOf(0));
  });
});

describe("cutAtCount()", () => {
  /** Sorts a copy: the score of rank `count`, and how many equal to it belong above the cut. */
  function cutReference(scores: Float32Array, count: number): { score: number; ties: number } {
    const sorted = Float32Array.from(scores).sort().reverse();
    const score = sorted[count - 1];
    return { score, ties: count - sorted.indexOf(score) };
  }

  test("finds the cut that sorting finds, whatever the values", () => {
    const values = fc.oneof(
      fc.float({ noNaN: true, noDefaultInfinity: true }),
      fc.constantFrom(Math.fround(0.1), 0, -0, 1, -1, 1.5),
    );
    fc.assert(
      fc.property(fc.array(values, { minLength: 1, maxLength: 60 }), fc.nat(), (list, pick) => {
        const scores = Float32Array.from(list);
        const count = 1 + (pick % scores.length);
        const expected = cutReference(scores, count);
        const cut = cutAtCount(scoreBits(scores), 1, scores.length, 0, count);
        expect(cut).toEqual({ key: keyOf(expected.score), ties: expected.ties });
      }),
      { numRuns: 500 },
    );
  });

  test("skips the first columns of every row", () => {
    const bits = scoreBits(Float32Array.of(9, 9, 1, 2, 9, 9, 3, 4));
    expect(cutAtCount(bits, 2, 4, 2, 2)).toEqual({ key: keyOf(3), ties: 1 });
  });

  test("refuses a count outside what is ranked", () => {
    const bits = scoreBits(Float32Array.of(1, 2, 3));
    for (const count of [0, -1, 3, Number.NaN]) expect(() => cutAtCount(bits, 1, 3, 1, count)).toThrow(RangeError);
  });
});
