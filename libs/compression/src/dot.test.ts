import fc from "fast-check";
import { expect, test } from "vitest";
import { dot } from "./dot.ts";

test("dot() is the sum of the products, whatever the length and the places", () => {
  const small = fc.integer({ min: -100, max: 100 });
  const pairs = fc.array(fc.tuple(small, small), { maxLength: 21 });
  fc.assert(
    fc.property(pairs, fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 3 }), (list, aBase, bBase) => {
      const a = Float32Array.of(...new Array(aBase).fill(7), ...list.map(([x]) => x), 9);
      const b = Float64Array.of(...new Array(bBase).fill(5), ...list.map(([, y]) => y), 9);
      const expected = list.reduce((sum, [x, y]) => sum + x * y, 0);
      expect(dot(a, aBase, b, bBase, list.length) === expected).toBe(true);
    }),
  );
});
