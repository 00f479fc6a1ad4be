/**
 * Whole numbers that sum to a total and differ from ideal shares by less than one, where the
 * bounds allow it: floors first, then one more each to the largest remainders, the lower index
 * on ties. What bounds leave over or take goes round again, least remainders first when taking.
 *
 * @module
 */

/** Shares of `total` near `ideal`, each in `[lo, hi]`. RangeError where the bounds cannot hold the total. */
export function largestRemainder(ideal: Float64Array, total: number, lo: number, hi: number): Uint32Array {
  const n = ideal.length;
  if (!(total >= n * lo && total <= n * hi))
    throw new RangeError(`Cannot share ${total}: ${n} parts hold ${n * lo} to ${n * hi}`);
  const share = new Uint32Array(n);
  let rest = total;
  for (let i = 0; i < n; i++) {
    share[i] = Math.min(Math.max(Math.floor(ideal[i]), lo), hi);
    rest -= share[i];
  }
  const remainder = (i: number): number => ideal[i] - Math.floor(ideal[i]);
  const order = Uint32Array.from(ideal.keys()).sort((a, b) => remainder(b) - remainder(a) || a - b);
  if (rest < 0) order.reverse();
  settle(share, order, rest, lo, hi);
  return share;
}

/** Adds `rest` (or takes it, where negative) one by one along `order`, round and round, within `[lo, hi]`. */
export function settle(share: Uint32Array, order: Uint32Array, rest: number, lo: number, hi: number): void {
  const step = Math.sign(rest);
  for (let left = Math.abs(rest); left > 0; ) {
    const before = left;
    for (let i = 0; i < order.length && left > 0; i++) {
      const next = share[order[i]] + step;
      if (next < lo || next > hi) continue;
      share[order[i]] = next;
      left--;
    }
    if (left === before) throw new RangeError(`Cannot share: ${left} left over within ${lo} to ${hi}`);
  }
}

/** Throws RangeError for more pairs than are ranked; all allocators say it alike. */
export function checkTotal(numRows: number, ranked: number, totalBudget: number): void {
  if (!(totalBudget >= 0 && totalBudget <= numRows * ranked)) {
    throw new RangeError(`Cannot allocate ${totalBudget} pairs: ${numRows * ranked} are ranked`);
  }
}
