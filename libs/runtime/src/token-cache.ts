/**
 * The growing, token-major cache that prefill appends to.
 *
 * Per layer one buffer `[capacity, K·D]` for keys and one for values. A chunk's outputs are
 * bound to the rows behind what is there, so nothing is copied until the capacity is raised.
 * Windowed layers are held whole too, so cutting back needs no copy; a graph is given the rows
 * they see.
 *
 * @module
 */
import type { DenseLayerKv, KvShape } from "@kvault/core";
import { type SlidingWindow, windowOf } from "@kvault/model";
import { f32Tensor, type Tensor } from "./session.ts";

/** Sizes, and which layers are windowed. */
export type TokenCacheShape = KvShape & { readonly slidingWindow?: SlidingWindow };

export class TokenCache {
  readonly shape: TokenCacheShape;
  /** Tokens present. */
  length = 0;
  private readonly rowSize: number;
  private readonly keys: Float32Array[];
  private readonly values: Float32Array[];

  constructor(shape: TokenCacheShape, capacityTokens: number) {
    this.shape = shape;
    this.rowSize = shape.numKvHeads * shape.headDim;
    const allocate = (): Float32Array[] =>
      Array.from({ length: shape.numLayers }, () => new Float32Array(capacityTokens * this.rowSize));
    this.keys = allocate();
    this.values = allocate();
  }

  /** Inputs `pastKey.l`, `pastValue.l` `[1, n, K·D]`: what the next token sees of the first `tokens` tokens. */
  past(tokens: number): Record<string, Tensor> {
    return this.rows("past", (layer) => tokens - this.seen(layer, tokens), tokens);
  }

  /** Tokens of the first `tokens` that windowed layers are given; undefined where there are none. */
  windowedPast(tokens: number): number | undefined {
    const { slidingWindow } = this.shape;
    return slidingWindow === undefined ? undefined : Math.min(tokens, slidingWindow.tokens - 1);
  }

  /** Outputs `newKey.l`, `newValue.l` `[1, tokens, K·D]` behind what is there. */
  room(tokens: number): Record<string, Tensor> {
    this.reserve(this.length + tokens);
    return this.rows("new", () => this.length, this.length + tokens);
  }

  /** Views of one layer's rows of tokens `[from, to)`, `[to - from, K·D]` each; room for them is made when there is none. */
  rowsOf(layer: number, from: number, to: number): { readonly keys: Float32Array; readonly values: Float32Array } {
    this.reserve(to);
    const [start, end] = [from * this.rowSize, to * this.rowSize];
    return { keys: this.keys[layer].subarray(start, end), values: this.values[layer].subarray(start, end) };
  }

  /** Forgets every token from `length` on. */
  truncate(length: number): void {
    this.length = Math.min(this.length, length);
  }

  /** Raises the capacity, layer by layer, so that at most one layer is held twice. */
  reserve(capacityTokens: number): void {
    const size = capacityTokens * this.rowSize;
    for (const buffers of [this.keys, this.values]) {
      for (let layer = 0; layer < buffers.length; layer++) {
        if (buffers[layer].length >= size) continue;
        const grown = new Float32Array(size);
        grown.set(buffers[layer].subarray(0, this.length * this.rowSize));
        buffers[layer] = grown;
      }
    }
  }

  /** A fresh head-major copy of one layer's first `seqLen` tokens. */
  dense(layer: number, seqLen: number): DenseLayerKv {
    const { numKvHeads, headDim } = this.shape;
    return {
      numKvHeads,
      seqLen,
      headDim,
      key_KSD: headMajor(this.keys[layer], numKvHeads, seqLen, headDim),
      value_KSD: headMajor(this.values[layer], numKvHeads, seqLen, headDim),
    };
  }

  private seen(layer: number, tokens: number): number {
    return windowOf(this.shape, layer) === undefined ? tokens : (this.windowedPast(tokens) as number);
  }

  private rows(prefix: "past" | "new", startOf: (layer: number) => number, end: number): Record<string, Tensor> {
    const tensors: Record<string, Tensor> = {};
    for (let layer = 0; layer < this.shape.numLayers; layer++) {
      const start = startOf(layer);
      for (const [kind, buffers] of [["Key", this.keys] as const, ["Value", this.values] as const]) {
        const data = buffers[layer].subarray(start * this.rowSize, end * this.rowSize);
        tensors[`${prefix}${kind}.${layer}`] = f32Tensor(data, [1, end - start, this.rowSize]);
      }
    }
    return tensors;
  }

  /** Drops the buffers; the cache is empty afterwards. */
  release(): void {
    this.length = 0;
    this.keys.fill(new Float32Array(0));
    this.values.fill(new Float32Array(0));
  }
}

/** `[S, K, D]` → `[K, S, D]`. */
function headMajor(rows_SKD: Float32Array, numKvHeads: number, seqLen: number, headDim: number): Float32Array {
  const out_KSD = new Float32Array(numKvHeads * seqLen * headDim);
  for (let k = 0; k < numKvHeads; k++) {
    for (let s = 0; s < seqLen; s++) {
      const from = (s * numKvHeads + k) * headDim;
      out_KSD.set(rows_SKD.subarray(from, from + headDim), (k * seqLen + s) * headDim);
    }
  }
  return out_KSD;
}
