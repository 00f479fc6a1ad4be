import { expect, test } from "vitest";
import { type Pooling, pool } from "./pooling.ts";

function pooled(pooling: Pooling, kernel: number, ...source: number[]): number[] {
  const out_n = new Float32Array(source.length);
  pool(pooling, Float32Array.from(source), kernel, out_n);
  return [...out_n].map((x) => Number(x.toFixed(4)));
}

test("averages count the padding, as torch's do", () => {
  expect(pooled("avg", 5, 0.5, 0.1, 0.1, 0.1, 0.2)).toEqual([0.14, 0.16, 0.2, 0.1, 0.08]);
  expect(pooled("avg", 3, 0.5, 0.1, 0.1, 0.1, 0.2)).toEqual([0.2, 0.2333, 0.1, 0.1333, 0.1]);
});

test("maxima do not", () => {
  expect(pooled("max", 3, -5, -1, -1, -4, -2)).toEqual([-1, -1, -1, -1, -2]);
});

test("a kernel of one changes nothing, one wider than the row takes all of it", () => {
  expect(pooled("avg", 1, 1, 2, 3)).toEqual([1, 2, 3]);
  expect(pooled("avg", 9, 1, 2, 6)).toEqual([1, 1, 1]);
  expect(pooled("max", 9, 1, 2, 6)).toEqual([6, 6, 6]);
});
