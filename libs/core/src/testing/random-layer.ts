/**
 * Random layers for tests of other packages: the same seed, the same layer.
 *
 * @module
 */
import type { DenseLayerKv, RaggedLayerKv } from "../ragged.ts";
import { gatherRagged } from "../ragged.ts";
import type { Rng } from "../rng.ts";

export interface LayerSizes {
  readonly numKvHeads: number;
  readonly seqLen: number;
  readonly headDim: number;
}

/** Keys and values uniform in [-1, 1). */
export function makeDenseLayer(rng: Rng, { numKvHeads, seqLen, headDim }: LayerSizes): DenseLayerKv {
  const uniform = (): Float32Array => Float32Array.from({ length: numKvHeads * seqLen * headDim }, () => 2 * rng.next() - 1);
  return { numKvHeads, seqLen, headDim, key_KSD: uniform(), value_KSD: uniform() };
}

/** A dense layer with each position of each head kept with its own head's probability; rows may be empty or full. */
export function makeRaggedLayer(rng: Rng, sizes: LayerSizes): RaggedLayerKv {
  const offset = new Uint32Array(sizes.numKvHeads + 1);
  const positions: number[] = [];
  for (let k = 0; k < sizes.numKvHeads; k++) {
    const keep = rng.next();
    for (let s = 0; s < sizes.seqLen; s++) if (rng.next() < keep) positions.push(s);
    offset[k + 1] = positions.length;
  }
  return gatherRagged(makeDenseLayer(rng, sizes), offset, Uint32Array.from(positions));
}
