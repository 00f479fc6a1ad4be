/**
 * What scorers over the attention of a context's last tokens share: checks, the map from query
 * heads to KV heads, and the window that is kept whatever its score.
 *
 * Grouped-query attention: query head h reads KV head `floor(h / G)`, so the heads of a group
 * are neighbours. Viewing them the other way round averages heads that share nothing.
 *
 * @module
 */
import type { ScorerLayer } from "../types.ts";

/** A layer with its window's attention, sizes checked. */
export interface WindowLayer {
  /** `[queryHead, seq]`. */
  readonly attention_HS: Float32Array;
  /** Query heads per KV head. */
  readonly groupSize: number;
}

/** Throws RangeError unless the window's attention is there and of the layer's size. */
export function windowLayer({ numKvHeads, numQueryHeads = 0, seqLen, windowAttention_HS }: ScorerLayer): WindowLayer {
  const groupSize = numQueryHeads / numKvHeads;
  if (!Number.isInteger(groupSize) || groupSize < 1 || windowAttention_HS?.length !== numQueryHeads * seqLen) {
    throw new RangeError(
      `Cannot score window attention: ${numQueryHeads} query heads on ${numKvHeads}, found ${windowAttention_HS?.length ?? "no"} values for ${seqLen} positions`,
    );
  }
  return { attention_HS: windowAttention_HS, groupSize };
}

/** `out_n = Σ rows / count` over `count` rows of `rows_GS` from `first` on, columns `[0, n)`; `n = out_n.length`. */
export function meanOfHeads(rows_GS: Float32Array, S: number, first: number, count: number, out_n: Float32Array): void {
  const n = out_n.length;
  for (let s = 0; s < n; s++) {
    let sum = 0;
    for (let g = first; g < first + count; g++) sum += rows_GS[g * S + s];
    out_n[s] = sum / count;
  }
}

/**
 * Lifts the last `windowTokens` positions of `score_S` above all before them, later ones higher:
 * they are kept first, and where even they do not all fit, the latest of them.
 */
export function favourWindow(score_S: Float32Array, windowTokens: number): void {
  const S = score_S.length;
  const start = Math.max(0, S - windowTokens);
  let max = 0;
  for (let s = 0; s < start; s++) if (score_S[s] > max) max = score_S[s];
  for (let s = start; s < S; s++) score_S[s] = max + 1 + (s - start) / (S - start);
}
