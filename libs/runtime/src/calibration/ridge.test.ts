import { createRng } from "@kvault/core";
import { describe, expect, test } from "vitest";
import { emptySums, type NormalSums, solveRidge } from "./ridge.ts";

function sumsOf(rows: readonly (readonly number[])[], targets: readonly (readonly number[])[]): NormalSums {
  const M = rows[0]?.length ?? 0;
  const K = targets[0]?.length ?? 0;
  const sums = emptySums(M, K);
  for (const [r, x] of rows.entries()) {
    const y = targets[r] as readonly number[];
    sums.count++;
    for (let i = 0; i < M; i++) {
      sums.featureSum[i] += x[i] as number;
      for (let j = 0; j < M; j++) sums.gram[i * M + j] += (x[i] as number) * (x[j] as number);
      for (let k = 0; k < K; k++) sums.cross[i * K + k] += (x[i] as number) * (y[k] as number);
    }
    for (let k = 0; k < K; k++) sums.targetSum[k] += y[k] as number;
  }
  return sums;
}

describe("solveRidge()", () => {
  test("finds the map that made the targets when the penalty vanishes", () => {
    const rng = createRng(3);
    const rows = Array.from({ length: 60 }, () => Array.from({ length: 4 }, (_, i) => 10 * i + rng.next()));
    const weight = [1, -2, 0.5, 3, 0, 4, -1, 2];
    const targets = rows.map((x) =>
      [0, 1].map((k) => x.reduce((sum, value, i) => sum + value * (weight[i * 2 + k] as number), k)),
    );
    const found = solveRidge(sumsOf(rows, targets), 1e-12);
    for (const [i, value] of weight.entries()) expect(found.weight[i]).toBeCloseTo(value, 5);
    expect(found.bias[0]).toBeCloseTo(0, 3);
    expect(found.bias[1]).toBeCloseTo(1, 3);
  });

  test("agrees with the closed form for one feature", () => {
    const x = [1, 2, 4, 7];
    const y = [3, 1, 5, 2];
    const lambda = 0.1;
    const mean = 3.5;
    const deviation = Math.sqrt(x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / 4) + 1e-5;
    const z = x.map((v) => (v - mean) / deviation);
    const slope = z.reduce((sum, v, i) => sum + v * (y[i] as number), 0) / (z.reduce((sum, v) => sum + v * v, 0) + lambda * 4);
    const constant = y.reduce((sum, v) => sum + v, 0) / (4 + lambda * 4);
    const found = solveRidge(
      sumsOf(
        x.map((v) => [v]),
        y.map((v) => [v]),
      ),
      lambda,
    );
    expect(found.weight[0]).toBeCloseTo(slope / deviation, 10);
    expect(found.bias[0]).toBeCloseTo(constant - (slope / deviation) * mean, 10);
  });

  test("shrinks towards the mean as the penalty grows", () => {
    const sums = sumsOf([[0], [1], [2]], [[0], [10], [20]]);
    expect(Math.abs(solveRidge(sums, 1e6).weight[0] as number)).toBeLessThan(1e-3);
  });

  test("refuses a single row", () => {
    expect(() => solveRidge(sumsOf([[1]], [[1]]), 1)).toThrow(RangeError);
  });
});
