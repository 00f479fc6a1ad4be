/**
 * KVzip's score of one KV head, written out: the oracle for the repeat graph and the scorer.
 *
 * arXiv:2505.23416, as in scorers/kvzip.ts.
 *
 * @module
 */

/** One KV head during one repeat forward; every array is rows of `headDim`, post-RoPE. */
export interface RepeatHead {
  readonly headDim: number;
  /** Queries of each query head of the group, one per token of the repeat input: `[G, T, D]`. */
  readonly query_GTD: ArrayLike<number>;
  /** Cached keys every row sees. */
  readonly sinkKey_nD: ArrayLike<number>;
  /** Cached keys of the chunk: the scored columns. */
  readonly chunkKey_nD: ArrayLike<number>;
  /** The repeat input's own keys, seen causally: `[T, D]`. */
  readonly repeatKey_TD: ArrayLike<number>;
}

/** Largest softmax weight each chunk key gets from any query of the group, in f64. */
export function repeatAttentionReference(head: RepeatHead): Float64Array {
  const { headDim: D, query_GTD, sinkKey_nD, chunkKey_nD, repeatKey_TD } = head;
  const numSinks = sinkKey_nD.length / D;
  const numScored = chunkKey_nD.length / D;
  const T = repeatKey_TD.length / D;
  const key_nD = [...Array.from(sinkKey_nD), ...Array.from(chunkKey_nD), ...Array.from(repeatKey_TD)];
  const score_n = new Float64Array(numScored);
  for (let row = 0; row < query_GTD.length / D; row++) {
    const numVisible = numSinks + numScored + (row % T) + 1;
    const logits = Array.from({ length: numVisible }, (_, column) => {
      let dot = 0;
      for (let d = 0; d < D; d++) dot += query_GTD[row * D + d] * key_nD[column * D + d];
      return dot / Math.sqrt(D);
    });
    const max = logits.reduce((a, b) => Math.max(a, b));
    const weights = logits.map((logit) => Math.exp(logit - max));
    const sum = weights.reduce((a, b) => a + b);
    for (let s = 0; s < numScored; s++) score_n[s] = Math.max(score_n[s], weights[numSinks + s] / sum);
  }
  return score_n;
}
