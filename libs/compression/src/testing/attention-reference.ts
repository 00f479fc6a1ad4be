/**
 * Attention of one query over one KV head in f64, the obvious way: the oracle for "evicted
 * equals masked".
 *
 * @module
 */

/** Rows of one KV head: `key_nD`, `value_nD` `[n, D]`. */
export interface AttentionRows {
  readonly key_nD: Float32Array;
  readonly value_nD: Float32Array;
}

/**
 * softmax(q·Kᵀ/√D)·V for `query_D`; rows where `isVisible_n` is false get a logit of -∞.
 * Without a mask every row is seen. At least one row must be.
 */
export function attentionReference(query_D: Float64Array, rows: AttentionRows, isVisible_n?: readonly boolean[]): Float64Array {
  const D = query_D.length;
  const n = rows.key_nD.length / D;
  const logit_n = new Float64Array(n).fill(Number.NEGATIVE_INFINITY);
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < n; i++) {
    if (isVisible_n?.[i] === false) continue;
    let dot = 0;
    for (let d = 0; d < D; d++) dot += query_D[d] * rows.key_nD[i * D + d];
    logit_n[i] = dot / Math.sqrt(D);
    max = Math.max(max, logit_n[i]);
  }
  if (max === Number.NEGATIVE_INFINITY) throw new RangeError("Cannot attend: no row is visible");
  let sum = 0;
  const out_D = new Float64Array(D);
  for (let i = 0; i < n; i++) {
    const weight = Math.exp(logit_n[i] - max);
    sum += weight;
    for (let d = 0; d < D; d++) out_D[d] += weight * rows.value_nD[i * D + d];
  }
  for (let d = 0; d < D; d++) out_D[d] /= sum;
  return out_D;
}
