/**
 * Causal softmax rows of a context's last tokens, summed, written out in f64: the oracle for
 * the window-attention graph and the scorers over it.
 *
 * @module
 */

/** One query head and the KV head it reads; every array is rows of `headDim`, post-RoPE. */
export interface WindowHead {
  readonly headDim: number;
  /** Queries of all positions, `[S, D]`. */
  readonly query_SD: ArrayLike<number>;
  /** `[S, D]`. */
  readonly key_SD: ArrayLike<number>;
}

/** `Σ over the last windowTokens rows t of softmax over j ≤ t of (q_t·k_j/√D)`, `[S]`. */
export function windowAttentionReference({ headDim: D, query_SD, key_SD }: WindowHead, windowTokens: number): Float64Array {
  const S = key_SD.length / D;
  const sum_S = new Float64Array(S);
  for (let t = Math.max(0, S - windowTokens); t < S; t++) {
    const logits = Array.from({ length: t + 1 }, (_, j) => {
      let dot = 0;
      for (let d = 0; d < D; d++) dot += query_SD[t * D + d] * key_SD[j * D + d];
      return dot / Math.sqrt(D);
    });
    const max = logits.reduce((a, b) => Math.max(a, b));
    const weights = logits.map((logit) => Math.exp(logit - max));
    const total = weights.reduce((a, b) => a + b);
    for (let j = 0; j <= t; j++) sum_S[j] += weights[j] / total;
  }
  return sum_S;
}
