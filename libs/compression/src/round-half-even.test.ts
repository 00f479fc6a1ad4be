import fc from "fast-check";
import { expect, test } from "vitest";
import { roundHalfEven } from "./round-half-even.ts";

function roundHalfEvenReference(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

test("roundHalfEven() rounds to nearest and halves to even", () => {
  expect([0, 0.5, 1.5, 2.5, 3.5, 0.49999999999999994].map(roundHalfEven)).toEqual([0, 0, 2, 2, 4, 0]);
  const anyNumber = fc.oneof(
    fc.double({ min: 0, max: 2 ** 45, noNaN: true }),
    fc.nat(1 << 20).map((n) => n / 2),
  );
  fc.assert(
    fc.property(anyNumber, (x) => {
      expect(roundHalfEven(x)).toBe(roundHalfEvenReference(x));
    }),
  );
});
