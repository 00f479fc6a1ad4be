import { createRng } from "@kvault/core";
import { expect, test } from "vitest";
import { clusterKeys } from "./cluster-keys.ts";

const D = 4;

/** Rows around `C` directions, of any length. */
function bundles(C: number, rows: number): { key_nD: Float32Array; bundle: number[] } {
  const rng = createRng(9);
  const direction = Array.from({ length: C }, (_, c) => Array.from({ length: D }, (_unused, d) => Math.sin(1 + 3 * c + 7 * d)));
  const bundle = Array.from({ length: rows }, (_, n) => Math.floor((n * C) / rows));
  const key_nD = Float32Array.from({ length: rows * D }, (_, i) => {
    const length = 1 + 20 * Math.abs(Math.sin(Math.floor(i / D)));
    return length * (direction[bundle[Math.floor(i / D)]][i % D] + 0.02 * rng.next());
  });
  return { key_nD, bundle };
}

test("rows of one direction are together, whatever their length", () => {
  const { key_nD, bundle } = bundles(5, 200);
  const cluster_n = clusterKeys(key_nD, D, 5, 20);
  const byCluster = new Map<number, Set<number>>();
  for (const [n, cluster] of cluster_n.entries()) byCluster.set(cluster, (byCluster.get(cluster) ?? new Set()).add(bundle[n]));
  for (const together of byCluster.values()) expect(together.size).toBe(1);
  expect([...byCluster.keys()].sort()).toEqual([...byCluster.keys()].map((_, i) => i).sort());
});

test("the same rows give the same clusters, and more rounds no less likeness", () => {
  const rng = createRng(2);
  const key_nD = Float32Array.from({ length: 300 * D }, () => 2 * rng.next() - 1);
  expect(clusterKeys(key_nD, D, 12, 8)).toEqual(clusterKeys(key_nD.slice(), D, 12, 8));
  expect(likeness(key_nD, clusterKeys(key_nD, D, 12, 20))).toBeGreaterThanOrEqual(
    likeness(key_nD, clusterKeys(key_nD, D, 12, 1)),
  );
});

test("few rows, equal rows and rows of zeros are no trouble", () => {
  expect(clusterKeys(new Float32Array(0), D, 3, 5)).toEqual(new Uint16Array(0));
  expect(clusterKeys(Float32Array.of(1, 0, 0, 0), D, 3, 5)).toEqual(new Uint16Array(1));
  expect(Math.max(...clusterKeys(new Float32Array(10 * D), D, 3, 5))).toBe(0);
});

/** Sum of the lengths of the clusters' summed unit keys: the objective of spherical k-means. */
function likeness(key_nD: Float32Array, cluster_n: Uint16Array): number {
  const sums = new Map<number, Float64Array>();
  for (const [n, cluster] of cluster_n.entries()) {
    const sum = sums.get(cluster) ?? new Float64Array(D);
    const norm = Math.hypot(...key_nD.subarray(n * D, (n + 1) * D));
    for (let d = 0; d < D; d++) sum[d] += key_nD[n * D + d] / norm;
    sums.set(cluster, sum);
  }
  return [...sums.values()].reduce((total, sum) => total + Math.hypot(...sum), 0);
}
