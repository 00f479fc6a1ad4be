/**
 * A head's rows cluster by cluster, and what the step graph needs to recall some of them.
 *
 * @module
 */
import { f32Tensor, i64Tensor, type Tensor } from "./session.ts";

/** Rows `[N, D]` of one head. */
export interface HeadRows {
  readonly key_ND: Float32Array;
  readonly value_ND: Float32Array;
  readonly headDim: number;
}

/** Added to the likeness of what is always read: above any product of a query and a unit vector. */
const ALWAYS = 1e30;

/**
 * The inputs of head `id` (recall.ts of the model package): rows in the order of their clusters,
 * of each cluster its first row, size and centroid, the mean direction of its keys. Cluster 0 comes
 * before all others.
 */
export function byCluster(
  id: string,
  { key_ND, value_ND, headDim: D }: HeadRows,
  cluster_N: Uint16Array,
  budgetRows: number,
): Record<string, Tensor> {
  const N = cluster_N.length;
  const present = [...new Set(cluster_N)].sort((a, b) => a - b);
  // A head of no rows has one cluster of none: no input of the graph may be empty.
  const C = Math.max(1, present.length);
  const indexOf = new Map(present.map((cluster, c) => [cluster, c]));
  const size = new Array<number>(C).fill(0);
  for (const cluster of cluster_N) size[indexOf.get(cluster) as number]++;
  const start = new Array<number>(C).fill(0);
  for (let c = 1; c < C; c++) start[c] = start[c - 1] + size[c - 1];
  const next = [...start];
  const key = new Float32Array(N * D);
  const value = new Float32Array(N * D);
  const sum_CD = new Float32Array(C * D);
  for (let n = 0; n < N; n++) {
    const c = indexOf.get(cluster_N[n]) as number;
    const to = next[c]++ * D;
    const key_D = key_ND.subarray(n * D, (n + 1) * D);
    key.set(key_D, to);
    value.set(value_ND.subarray(n * D, (n + 1) * D), to);
    const norm = normOf(key_D);
    for (let d = 0; d < D; d++) sum_CD[c * D + d] += key_D[d] / norm;
  }
  const centroid_DC = new Float32Array(D * C);
  for (let c = 0; c < C; c++) {
    const sum_D = sum_CD.subarray(c * D, (c + 1) * D);
    const norm = normOf(sum_D);
    for (let d = 0; d < D; d++) centroid_DC[d * C + c] = sum_D[d] / norm;
  }
  const first = Float32Array.from({ length: C }, (_, c) => (present[c] === 0 ? ALWAYS : 0));
  return {
    [`contextKey.${id}`]: f32Tensor(key, [N, D]),
    [`contextValue.${id}`]: f32Tensor(value, [N, D]),
    [`centroid.${id}`]: f32Tensor(centroid_DC, [D, C]),
    [`first.${id}`]: f32Tensor(first, [C]),
    [`clusterSize.${id}`]: i64Tensor(size),
    [`clusterStart.${id}`]: i64Tensor(start),
    [`recalled.${id}`]: i64Tensor([Math.min(N, budgetRows)]),
  };
}

/** Never 0, so that it divides. */
function normOf(vector: Float32Array): number {
  let sum = 0;
  for (const x of vector) sum += x * x;
  return Math.sqrt(sum) || 1;
}
