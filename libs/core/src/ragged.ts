/**
 * The ragged KV cache: the native form of a compressed context.
 *
 * Dimension key of the whole code base: **B** sequence in a batch · **T** new tokens in this
 * call · **S** cached positions · **L** layer · **H** query head · **K** KV head · **G** query
 * heads per KV head · **D** head dimension · **M** model dimension · **V** vocabulary ·
 * lower-case **n** a ragged count (differs per layer and head).
 *
 * As in CSR: data is flat and `offset` has one entry more than there are rows. Row k of a
 * layer is `offset[k] … offset[k+1]`. Positions ascend inside a row and are the positions
 * the tokens had in the original context: RoPE rotations in the keys stay what they were.
 *
 * @module
 */

/** Sizes of a model's cache. */
export interface KvShape {
  readonly numLayers: number;
  readonly numKvHeads: number;
  readonly headDim: number;
}

/** One layer with every position present: `[kvHead, seq, headDim]`, row-major. */
export interface DenseLayerKv {
  readonly numKvHeads: number;
  readonly seqLen: number;
  readonly headDim: number;
  /** Post-RoPE keys, half-split rotation. */
  readonly key_KSD: Float32Array;
  readonly value_KSD: Float32Array;
}

/** One layer after selection: rows of different length, one per KV head. */
export interface RaggedLayerKv {
  readonly numKvHeads: number;
  readonly headDim: number;
  /** `[K + 1]`, ascending, first 0, last n. */
  readonly offset: Uint32Array;
  /** `[n]` original positions, ascending within a row. */
  readonly position_n: Uint32Array;
  /** `[n, D]` post-RoPE keys. */
  readonly key_nD: Float32Array;
  readonly value_nD: Float32Array;
}

/** Length of row `kvHead`. */
export function rowLength(layer: Pick<RaggedLayerKv, "offset">, kvHead: number): number {
  return (layer.offset[kvHead + 1] as number) - (layer.offset[kvHead] as number);
}

/** Throws RangeError unless sizes, offsets and positions agree. `seqLen` bounds positions. */
export function checkRagged(layer: RaggedLayerKv, seqLen: number): void {
  const { numKvHeads, headDim, offset, position_n, key_nD, value_nD } = layer;
  const count = position_n.length;
  if (offset.length !== numKvHeads + 1) {
    throw new RangeError(`Cannot read ragged layer: ${offset.length} offsets for ${numKvHeads} heads`);
  }
  if (offset[0] !== 0 || offset[numKvHeads] !== count) {
    throw new RangeError(`Cannot read ragged layer: offsets span ${offset[0]}..${offset[numKvHeads]}, positions ${count}`);
  }
  if (key_nD.length !== count * headDim || value_nD.length !== count * headDim) {
    throw new RangeError(
      `Cannot read ragged layer: ${count} pairs of ${headDim} need ${count * headDim} values, found ${key_nD.length} keys and ${value_nD.length} values`,
    );
  }
  for (let k = 0; k < numKvHeads; k++) {
    const start = offset[k] as number;
    const end = offset[k + 1] as number;
    if (end < start || end > count) {
      throw new RangeError(`Cannot read ragged layer: head ${k} spans ${start}..${end} of ${count}`);
    }
    let previous = -1;
    for (let i = start; i < end; i++) {
      const position = position_n[i] as number;
      if (position <= previous || position >= seqLen) {
        throw new RangeError(
          `Cannot read ragged layer: position ${position} after ${previous} at head ${k}, context of ${seqLen}`,
        );
      }
      previous = position;
    }
  }
}

/** Gathers `position_n` (ragged by `offset`) out of a dense layer. RangeError on a position beyond it. */
export function gatherRagged(dense: DenseLayerKv, offset: Uint32Array, position_n: Uint32Array): RaggedLayerKv {
  const { numKvHeads, seqLen, headDim, key_KSD, value_KSD } = dense;
  const key_nD = new Float32Array(position_n.length * headDim);
  const value_nD = new Float32Array(position_n.length * headDim);
  for (let k = 0; k < numKvHeads; k++) {
    const end = offset[k + 1] as number;
    for (let i = offset[k] as number; i < end; i++) {
      const position = position_n[i] as number;
      if (position >= seqLen) throw new RangeError(`Cannot gather position ${position} of head ${k}: layer has ${seqLen}`);
      const from = (k * seqLen + position) * headDim;
      const to = i * headDim;
      for (let d = 0; d < headDim; d++) {
        key_nD[to + d] = key_KSD[from + d] as number;
        value_nD[to + d] = value_KSD[from + d] as number;
      }
    }
  }
  return { numKvHeads, headDim, offset, position_n, key_nD, value_nD };
}
