/**
 * Turning rows of keys by their positions, forth and back.
 *
 * Half-split RoPE: the pair (i, i + D/2) of the row at position p turns by `p · frequency[i]`.
 * A turn is orthogonal, so turning forth undoes turning back but for rounding, whatever the
 * frequencies are. An odd last channel stays.
 *
 * Sines of hundreds of thousands of positions would cost more than everything else: a position
 * is split into a multiple of 256 and a rest, whose turns are in tables, and their product is
 * the turn. Angles and products are in f64.
 *
 * @module
 */

const LOW = 256;

/** Rows `[n, D]` at `position_n`, turned by `direction` times their angles, into `out_nD` (may be `row_nD`). */
export function turnRows(
  row_nD: Float32Array,
  position_n: Uint32Array,
  D: number,
  frequencies: ArrayLike<number>,
  direction: 1 | -1,
  out_nD: Float32Array,
): void {
  const half = D >> 1;
  if (frequencies.length !== half) {
    throw new RangeError(`Cannot turn rows of ${D}: found ${frequencies.length} frequencies, needs ${half}`);
  }
  let last = 0;
  for (let n = 0; n < position_n.length; n++) if (position_n[n] > last) last = position_n[n];
  const low = turnTable(LOW, 1, frequencies, direction);
  const high = turnTable(Math.floor(last / LOW) + 1, LOW, frequencies, direction);
  const odd = D % 2 === 1;
  for (let n = 0; n < position_n.length; n++) {
    const base = n * D;
    const fine = (position_n[n] % LOW) * half * 2;
    const coarse = Math.floor(position_n[n] / LOW) * half * 2;
    for (let i = 0; i < half; i++) {
      const cosHigh = high[coarse + 2 * i];
      const sinHigh = high[coarse + 2 * i + 1];
      const cosLow = low[fine + 2 * i];
      const sinLow = low[fine + 2 * i + 1];
      const cos = cosHigh * cosLow - sinHigh * sinLow;
      const sin = sinHigh * cosLow + cosHigh * sinLow;
      const a = row_nD[base + i];
      const b = row_nD[base + half + i];
      out_nD[base + i] = a * cos - b * sin;
      out_nD[base + half + i] = b * cos + a * sin;
    }
    if (odd) out_nD[base + D - 1] = row_nD[base + D - 1];
  }
}

/** `[count, D/2, 2]`: cosine and sine of `direction · i · stride · frequency`. */
function turnTable(count: number, stride: number, frequencies: ArrayLike<number>, direction: number): Float64Array {
  const half = frequencies.length;
  const table = new Float64Array(count * half * 2);
  for (let p = 0; p < count; p++) {
    for (let i = 0; i < half; i++) {
      const angle = direction * p * stride * frequencies[i];
      table[(p * half + i) * 2] = Math.cos(angle);
      table[(p * half + i) * 2 + 1] = Math.sin(angle);
    }
  }
  return table;
}
