/**
 * How alike two arrays are: by direction and by rank.
 *
 * @module
 */

/** Cosine of the angle between `a` and `b`; 1 when both are all zeros, 0 when one is. */
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  checkLengths(a, b);
  let dot = 0;
  let normA = 0;
  let normB = 0;
  for (let i = 0; i < a.length; i++) {
    const x = a[i] as number;
    const y = b[i] as number;
    dot += x * y;
    normA += x * x;
    normB += y * y;
  }
  if (normA === 0 || normB === 0) return normA === normB ? 1 : 0;
  return dot / Math.sqrt(normA * normB);
}

/** Spearman's rank correlation, ties at their average rank; NaN when either array is constant or shorter than 2. */
export function spearman(a: ArrayLike<number>, b: ArrayLike<number>): number {
  checkLengths(a, b);
  const mean = (a.length - 1) / 2;
  const rankA = averageRanks(a);
  const rankB = averageRanks(b);
  let covariance = 0;
  let varianceA = 0;
  let varianceB = 0;
  for (let i = 0; i < rankA.length; i++) {
    const x = (rankA[i] as number) - mean;
    const y = (rankB[i] as number) - mean;
    covariance += x * y;
    varianceA += x * x;
    varianceB += y * y;
  }
  return covariance / Math.sqrt(varianceA * varianceB);
}

/** Rank of each value from 0; equal values share the mean of the ranks they span. */
function averageRanks(values: ArrayLike<number>): Float64Array {
  const order = Uint32Array.from(values, (_, i) => i).sort((i, j) => (values[i] as number) - (values[j] as number));
  const ranks = new Float64Array(values.length);
  for (let start = 0; start < order.length; ) {
    const value = values[order[start] as number];
    let end = start + 1;
    while (end < order.length && values[order[end] as number] === value) end++;
    for (let i = start; i < end; i++) ranks[order[i] as number] = (start + end - 1) / 2;
    start = end;
  }
  return ranks;
}

function checkLengths(a: ArrayLike<number>, b: ArrayLike<number>): void {
  if (a.length !== b.length) throw new RangeError(`Cannot compare arrays: ${a.length} and ${b.length} values`);
}
