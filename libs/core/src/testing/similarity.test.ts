import { describe, expect, test } from "vitest";
import { cosine, spearman } from "./similarity.ts";

describe("cosine()", () => {
  test("is 1, 0 and -1 for equal, orthogonal and opposite directions", () => {
    expect(cosine([1, 2], [10, 20])).toBeCloseTo(1, 12);
    expect(cosine([1, 0], [0, 5])).toBe(0);
    expect(cosine([1, 2], [-2, -4])).toBeCloseTo(-1, 12);
  });

  test("defines zero vectors", () => {
    expect(cosine([0, 0], [0, 0])).toBe(1);
    expect(cosine([0, 0], [1, 0])).toBe(0);
  });

  test("refuses different lengths", () => {
    expect(() => cosine([1], [1, 2])).toThrow(RangeError);
  });
});

describe("spearman()", () => {
  test("sees order and nothing else", () => {
    expect(spearman([1, 2, 3, 4], [1, 10, 100, 1e9])).toBeCloseTo(1, 12);
    expect(spearman([1, 2, 3, 4], [4, 3, 2, 1])).toBeCloseTo(-1, 12);
  });

  test("gives ties their average rank", () => {
    // Ranks 0 1.5 1.5 3 against 0 1 2 3: 4.5 / sqrt(4.5 * 5).
    expect(spearman([1, 2, 2, 3], [1, 2, 3, 4])).toBeCloseTo(4.5 / Math.sqrt(4.5 * 5), 12);
  });

  test("is NaN for a constant array", () => {
    expect(spearman([1, 1, 1], [1, 2, 3])).toBeNaN();
  });
});
