import { describe, expect, test } from "vitest";
import { halfSplitRowOrder, reorderRows } from "./row-order.ts";

describe("halfSplitRowOrder()", () => {
  test("puts the first of each neighbouring pair in the first half of its head", () => {
    expect([...halfSplitRowOrder(2, 6)]).toEqual([0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
  });

  test("refuses a head that has no halves", () => {
    expect(() => halfSplitRowOrder(1, 5)).toThrow(RangeError);
  });
});

describe("reorderRows()", () => {
  test("undoes what llama conversion did: view rows as [head, 2, D/2], swap the last two", () => {
    const [numHeads, headDim, rowBytes] = [3, 8, 5];
    const original = Uint8Array.from({ length: numHeads * headDim * rowBytes }, (_, i) => i);
    const converted = new Uint8Array(original.length);
    for (let head = 0; head < numHeads; head++) {
      for (let half = 0; half < 2; half++) {
        for (let i = 0; i < headDim / 2; i++) {
          const from = (head * headDim + half * (headDim / 2) + i) * rowBytes;
          converted.set(original.subarray(from, from + rowBytes), (head * headDim + i * 2 + half) * rowBytes);
        }
      }
    }
    expect(reorderRows(converted, halfSplitRowOrder(numHeads, headDim))).toEqual(original);
  });

  test("refuses bytes that are not equal rows", () => {
    expect(() => reorderRows(new Uint8Array(7), Uint32Array.of(1, 0))).toThrow(RangeError);
  });
});
