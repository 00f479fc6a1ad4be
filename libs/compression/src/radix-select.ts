/**
 * The exact cut for "the best `count` of many scores", without sorting them.
 *
 * A float's bits, with the sign folded over, order like the float itself, so a most
 * significant digit first radix select finds the score of rank `count` in three counting
 * passes (11, 11 and 10 bits) over any number of values, negative ones included. -0 counts
 * as +0. NaN has no order and must not come in.
 *
 * Cost: four reads of every score, 8 KiB of counters, nothing else allocated.
 *
 * @module
 */

/** Keep every score whose key is above `key`, and the first `ties` of those equal to it. */
export interface Cut {
  readonly key: number;
  readonly ties: number;
}

/** Key of one float's bits: unsigned keys order as the floats do. */
export function orderKey(bits: number): number {
  return bits === 0x80000000 ? 0x80000000 : (bits ^ ((bits >> 31) | 0x80000000)) >>> 0;
}

/** The float bits behind `score`, shared. */
export function scoreBits(score: Float32Array): Uint32Array {
  return new Uint32Array(score.buffer, score.byteOffset, score.length);
}

/**
 * The cut that keeps exactly `count` of `bits` `[numRows, rowLength]`, columns from
 * `firstColumn` on. `count` must be at least 1 and at most the number of ranked scores.
 */
export function cutAtCount(bits: Uint32Array, numRows: number, rowLength: number, firstColumn: number, count: number): Cut {
  const ranked = numRows * (rowLength - firstColumn);
  if (!(count >= 1 && count <= ranked)) throw new RangeError(`Cannot cut at ${count} scores: ${ranked} are ranked`);
  const bins = new Uint32Array(2048);
  let prefix = 0;
  let mask = 0;
  let need = count;
  for (let pass = 0; pass < 3; pass++) {
    const width = pass === 2 ? 10 : 11;
    const shift = pass === 0 ? 21 : pass === 1 ? 10 : 0;
    const digitMask = (1 << width) - 1;
    bins.fill(0);
    for (let row = 0; row < numRows; row++) {
      const end = (row + 1) * rowLength;
      for (let i = row * rowLength + firstColumn; i < end; i++) {
        const key = orderKey(bits[i]);
        if ((key & mask) >>> 0 === prefix) bins[(key >>> shift) & digitMask]++;
      }
    }
    let digit = digitMask;
    while (bins[digit] < need) need -= bins[digit--];
    prefix = (prefix | (digit << shift)) >>> 0;
    mask = (mask | (digitMask << shift)) >>> 0;
  }
  return { key: prefix, ties: need };
}
