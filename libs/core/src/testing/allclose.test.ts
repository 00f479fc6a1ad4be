import { describe, expect, test } from "vitest";
import { toBeAllclose } from "./allclose.ts";

expect.extend({ toBeAllclose });

describe("toBeAllclose()", () => {
  test("accepts values within atol + rtol * |expected| and not beyond", () => {
    expect([100.9, 0]).toBeAllclose([100, 0], { rtol: 0.01, atol: 0 });
    expect([101.1]).not.toBeAllclose([100], { rtol: 0.01, atol: 0 });
    expect([0.05]).toBeAllclose([0], { rtol: 0, atol: 0.05 });
    expect([0.06]).not.toBeAllclose([0], { rtol: 0, atol: 0.05 });
  });

  test("reports the largest difference outside, its index and both values", () => {
    // Index 1 differs most but is within rtol; index 3 is the worst of the two outside.
    expect(() => expect([1, 1_000_001, 1.25, 2.5]).toBeAllclose([1, 1_000_000, 1, 2])).toThrow(
      "2 of 4 values outside rtol=0.00001 atol=1e-8; largest difference 0.5 at index 3: 2.5, expected 2",
    );
  });

  test("reports the largest difference when negated", () => {
    expect(() => expect([1, 2.125]).not.toBeAllclose([1, 2], { atol: 1 })).toThrow("largest difference 0.125 at index 1");
  });

  test("tells lengths apart", () => {
    expect(() => expect([1]).toBeAllclose([1, 1])).toThrow("1 values, expected 2");
  });

  test("treats NaN and infinities as equal only to themselves", () => {
    const odd = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    expect(odd).toBeAllclose(odd);
    expect([Number.NaN]).not.toBeAllclose([1], { atol: 1e9 });
    expect([1]).not.toBeAllclose([Number.NaN], { atol: 1e9 });
    expect([1]).not.toBeAllclose([Number.POSITIVE_INFINITY]);
    expect([Number.NEGATIVE_INFINITY]).not.toBeAllclose([Number.POSITIVE_INFINITY]);
  });

  test("accepts empty arrays", () => {
    expect(new Float32Array(0)).toBeAllclose([]);
  });
});
