/**
 * `expect(actual).toBeAllclose(expected, { rtol, atol })`: every element within
 * `atol + rtol · |expected|`, NaN equal to NaN, infinities equal to themselves.
 *
 * Register it once per test file: `expect.extend({ toBeAllclose })`. The message says how far
 * off the worst element is, where, and both values.
 *
 * @module
 */
import type {} from "vitest";

export interface Tolerance {
  /** Relative to the expected value. Default 1e-5. */
  readonly rtol?: number;
  /** Absolute. Default 1e-8. */
  readonly atol?: number;
}

type Numbers = ArrayLike<number>;

declare module "vitest" {
  interface Matchers<T> {
    toBeAllclose(expected: Numbers, tolerance?: Tolerance): T;
  }
}

/** The matcher; see the module comment. */
export function toBeAllclose(
  actual: Numbers,
  expected: Numbers,
  { rtol = 1e-5, atol = 1e-8 }: Tolerance = {},
): { pass: boolean; message: () => string } {
  if (actual.length !== expected.length) {
    return { pass: false, message: () => `Lengths differ: ${actual.length} values, expected ${expected.length}` };
  }
  let outside = 0;
  let worst = 0;
  let worstDifference = -1;
  for (let i = 0; i < expected.length; i++) {
    const target = expected[i] as number;
    const difference = differenceOf(actual[i] as number, target);
    // An infinite expectation would make the tolerance infinite.
    const isWithin = difference === 0 || (Number.isFinite(target) && difference <= atol + rtol * Math.abs(target));
    const isFirstOutside = !isWithin && outside === 0;
    if (!isWithin) outside++;
    if (isFirstOutside || (isWithin === (outside === 0) && difference > worstDifference)) {
      worst = i;
      worstDifference = difference;
    }
  }
  return {
    pass: outside === 0,
    message: () => {
      const values = `${actual[worst]}, expected ${expected[worst]}`;
      const found =
        expected.length === 0 ? "both are empty" : `largest difference ${worstDifference} at index ${worst}: ${values}`;
      return `${outside} of ${expected.length} values outside rtol=${rtol} atol=${atol}; ${found}`;
    },
  };
}

/** |a − b|, 0 for equal values of any kind, infinite when exactly one is NaN. */
function differenceOf(a: number, b: number): number {
  if (Object.is(a, b) || a === b) return 0;
  const difference = Math.abs(a - b);
  return Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
}
