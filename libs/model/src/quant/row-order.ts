/**
 * Row order of attention projections. GGUF files of the `llama` family store the rows of the
 * query and key projections so that a rotation pairs neighbours (2i, 2i + 1); the graphs rotate
 * halves (i, i + D/2), as `qwen2` files already are. Undoing it moves whole rows, so it is exact
 * for every layout.
 *
 * @module
 */

/** `order[row] = row in the file`, for `numHeads` heads of `headDim` rows: interleaved → half-split. */
export function halfSplitRowOrder(numHeads: number, headDim: number): Uint32Array {
  if (headDim % 2 !== 0) throw new RangeError(`Cannot split ${headDim} rows of a head into halves`);
  const order = new Uint32Array(numHeads * headDim);
  const half = headDim / 2;
  for (let head = 0; head < numHeads; head++) {
    for (let i = 0; i < half; i++) {
      order[head * headDim + i] = head * headDim + 2 * i;
      order[head * headDim + half + i] = head * headDim + 2 * i + 1;
    }
  }
  return order;
}

/** A copy of `bytes` whose row r is row `order[r]` of the input; all rows have the same byte length. */
export function reorderRows(bytes: Uint8Array, order: Uint32Array): Uint8Array {
  const rowBytes = bytes.byteLength / order.length;
  if (!Number.isInteger(rowBytes)) {
    throw new RangeError(`Cannot reorder rows: ${bytes.byteLength} bytes are not ${order.length} equal rows`);
  }
  const out = new Uint8Array(bytes.byteLength);
  for (let row = 0; row < order.length; row++) {
    const from = (order[row] as number) * rowBytes;
    out.set(bytes.subarray(from, from + rowBytes), row * rowBytes);
  }
  return out;
}
