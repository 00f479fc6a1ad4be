/**
 * Budgets in proportion to weights of the heads: a floor for everyone, the rest by weight, no
 * head more than it has. What a full head cannot take goes to the others, by weight again.
 *
 * @module
 */
import { checkTotal, largestRemainder } from "./largest-remainder.ts";

/** Counts `[rows]` that sum to `total`; `weight` ≥ 0, all alike where they are all 0. */
export function shareByWeight(weight: Float64Array, ranked: number, total: number, floor: number): Uint32Array {
  const numRows = weight.length;
  checkTotal(numRows, ranked, total);
  const base = (floor * total) / numRows;
  const ideal = new Float64Array(numRows).fill(base);
  const isFull = new Uint8Array(numRows);
  let rest = total - base * numRows;
  for (let open = numRows; rest > 0 && open > 0; ) {
    let sum = 0;
    for (let row = 0; row < numRows; row++) if (isFull[row] === 0) sum += weight[row];
    const perWeight = sum > 0 ? rest / sum : 0;
    let overflow = 0;
    for (let row = 0; row < numRows; row++) {
      if (isFull[row] === 1) continue;
      ideal[row] += sum > 0 ? weight[row] * perWeight : rest / open;
      if (ideal[row] >= ranked) {
        overflow += ideal[row] - ranked;
        ideal[row] = ranked;
        isFull[row] = 1;
      }
    }
    open = numRows - isFull.reduce((count, full) => count + full, 0);
    rest = overflow;
  }
  return largestRemainder(ideal, total, 0, ranked);
}

/** A profile `[rows]` of a score set; RangeError where it is missing or of another size. */
export function profileOf(profile: Float32Array | undefined, name: string, numRows: number): Float32Array {
  if (profile?.length !== numRows) {
    throw new RangeError(`Cannot allocate by profile "${name}": ${numRows} values needed, found ${profile?.length ?? "none"}`);
  }
  return profile;
}
