/**
 * Selection of whole runs of neighbouring positions, best mean score first.
 *
 * @module
 */
import { selectTopK } from "./top-k.ts";

/**
 * `protectedTokens + budget` ascending positions. Runs begin at `protectedTokens` and then at
 * every position that `size` divides, counted from `origin`. Whole runs are taken by mean
 * score, the lower one on ties, until one does not fit: of it the best positions are taken.
 * Cost: one pass and a sort of the runs.
 */
export function selectRuns(
  score_S: Float32Array,
  protectedTokens: number,
  budget: number,
  size: number,
  origin: number,
): Uint32Array {
  const S = score_S.length;
  if (protectedTokens + budget > S) {
    throw new RangeError(`Cannot select ${budget} pairs: ${S - protectedTokens} positions are ranked`);
  }
  const start: number[] = [];
  for (let s = protectedTokens; s < S; s = origin + (Math.floor((s - origin) / size) + 1) * size) start.push(s);
  const endOf = (run: number): number => start[run + 1] ?? S;
  const mean = Float64Array.from(start, (first, run) => {
    let sum = 0;
    for (let s = first; s < endOf(run); s++) sum += score_S[s];
    return sum / (endOf(run) - first);
  });
  const order = Uint32Array.from(start.keys()).sort((a, b) => mean[b] - mean[a] || a - b);
  const taken = new Uint8Array(S).fill(1, 0, protectedTokens);
  let rest = budget;
  for (let i = 0; rest > 0; i++) {
    const first = start[order[i]];
    const end = endOf(order[i]);
    if (end - first > rest) {
      const best = selectTopK(score_S.subarray(first, end), 0, rest);
      for (let n = 0; n < best.length; n++) taken[first + best[n]] = 1;
      break;
    }
    taken.fill(1, first, end);
    rest -= end - first;
  }
  const position_n = new Uint32Array(protectedTokens + budget);
  for (let s = 0, n = 0; s < S; s++) if (taken[s] === 1) position_n[n++] = s;
  return position_n;
}
