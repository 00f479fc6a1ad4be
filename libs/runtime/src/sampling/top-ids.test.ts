import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { topIds } from "./top-ids.ts";

/** Sort everything, take the head. */
function topIdsReference(value_V: Float32Array, count: number): number[] {
  const ids = Array.from(value_V.keys());
  return ids.sort((a, b) => value_V[b] - value_V[a] || a - b).slice(0, count);
}

describe("topIds()", () => {
  test("agrees with sorting everything, ties included", () => {
    const values = fc.array(fc.integer({ min: -3, max: 3 }), { maxLength: 60 });
    fc.assert(
      fc.property(values, fc.nat(70), (list, count) => {
        const value_V = Float32Array.from(list);
        expect(Array.from(topIds(value_V, count))).toEqual(topIdsReference(value_V, count));
      }),
      { numRuns: 1_000 },
    );
  });

  test("ranks minus infinity last", () => {
    expect(Array.from(topIds(Float32Array.of(-Infinity, 0, -Infinity, -1), 3))).toEqual([1, 3, 0]);
  });
});
