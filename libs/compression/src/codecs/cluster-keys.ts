/**
 * Rows of a head in clusters by the direction of their keys: spherical k-means.
 *
 *   cluster(row) = argmax over c of centroid[c] · key / ‖key‖,   centroid[c] = the sum of its unit keys, made a unit
 *
 * Deterministic: centroids begin as rows spread evenly over the head, ties go to the lower
 * cluster, a cluster that loses all its rows keeps its centroid. Centroids are found on at most
 * `SAMPLE_ROWS` rows a cluster, spread evenly, so that the cost grows as `rows · clusters`, and
 * every row is assigned once at the end.
 *
 * @module
 */

const SAMPLE_ROWS = 32;

/** `key_nD` `[n, D]` → the cluster of every row, from 0 without gaps. */
export function clusterKeys(key_nD: Float32Array, D: number, numClusters: number, maxRounds: number): Uint16Array {
  const n = key_nD.length / D;
  const C = Math.min(numClusters, n);
  const unit_nD = unitRows(key_nD, D);
  const sample = spread(n, Math.min(n, C * SAMPLE_ROWS));
  const centroid_CD = new Float32Array(C * D);
  for (const [c, row] of spread(n, C).entries()) centroid_CD.set(unit_nD.subarray(row * D, (row + 1) * D), c * D);
  const cluster_m = new Uint16Array(sample.length).fill(0xffff);
  for (let round = 0; round < maxRounds; round++) {
    let moved = 0;
    for (const [i, row] of sample.entries()) {
      const c = nearest(unit_nD, row * D, centroid_CD, D);
      if (c !== cluster_m[i]) moved++;
      cluster_m[i] = c;
    }
    if (moved === 0) break;
    recentre(centroid_CD, unit_nD, sample, cluster_m, D);
  }
  const cluster_n = new Uint16Array(n);
  for (let row = 0; row < n; row++) cluster_n[row] = nearest(unit_nD, row * D, centroid_CD, D);
  return withoutGaps(cluster_n, C);
}

/** `count` of `n` rows, evenly. */
function spread(n: number, count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => Math.floor((i * n) / count));
}

function unitRows(row_nD: Float32Array, D: number): Float32Array {
  const unit_nD = new Float32Array(row_nD.length);
  for (let base = 0; base < row_nD.length; base += D) {
    let sum = 0;
    for (let d = 0; d < D; d++) sum += row_nD[base + d] ** 2;
    const scale = sum > 0 ? 1 / Math.sqrt(sum) : 0;
    for (let d = 0; d < D; d++) unit_nD[base + d] = row_nD[base + d] * scale;
  }
  return unit_nD;
}

function nearest(unit_nD: Float32Array, base: number, centroid_CD: Float32Array, D: number): number {
  let best = 0;
  let most = Number.NEGATIVE_INFINITY;
  for (let c = 0, at = 0; at < centroid_CD.length; c++, at += D) {
    let dot = 0;
    for (let d = 0; d < D; d++) dot += unit_nD[base + d] * centroid_CD[at + d];
    if (dot > most) {
      most = dot;
      best = c;
    }
  }
  return best;
}

function recentre(
  centroid_CD: Float32Array,
  unit_nD: Float32Array,
  sample: Uint32Array,
  cluster_m: Uint16Array,
  D: number,
): void {
  const sum_CD = new Float32Array(centroid_CD.length);
  for (const [i, row] of sample.entries()) {
    for (let d = 0; d < D; d++) sum_CD[cluster_m[i] * D + d] += unit_nD[row * D + d];
  }
  const mean_CD = unitRows(sum_CD, D);
  for (let base = 0; base < mean_CD.length; base += D) {
    const mean_D = mean_CD.subarray(base, base + D);
    if (mean_D.some((x) => x !== 0)) centroid_CD.set(mean_D, base);
  }
}

/** The same clusters, numbered without those of no rows. */
function withoutGaps(cluster_n: Uint16Array, C: number): Uint16Array {
  const isUsed = new Uint8Array(C);
  for (const c of cluster_n) isUsed[c] = 1;
  const renamed = new Uint16Array(C);
  for (let c = 0, next = 0; c < C; c++) if (isUsed[c] === 1) renamed[c] = next++;
  return cluster_n.map((c) => renamed[c]);
}
