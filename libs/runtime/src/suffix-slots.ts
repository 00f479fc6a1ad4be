/**
 * Keys and values of what followed the context, one slot per sequence.
 *
 * Per layer and KV head a buffer `[slots, capacity, D]`; the first `size` slots are taken. A
 * run over slots 0…n−1 binds the buffers in place; any other choice is gathered. Leaving
 * moves the last slot into the hole. Capacities double, so growth costs amortised nothing.
 *
 * @module
 */
import type { KvShape } from "@kvault/core";
import { f32Tensor, type Tensor } from "./session.ts";

const FIRST_CAPACITY_TOKENS = 32;

export class SuffixSlots {
  private readonly shape: KvShape;
  private slotCapacity = 1;
  private tokenCapacity = FIRST_CAPACITY_TOKENS;
  /** By `(layer · K + kvHead) · 2 + (0 keys | 1 values)`. */
  private buffers: Float32Array[];
  private readonly lengths: number[] = [];
  /** Tensors over the first `bound.slots` slots, until the buffers change. */
  private bound: { readonly slots: number; readonly inputs: Readonly<Record<string, Tensor>> } | undefined;

  constructor(shape: KvShape) {
    this.shape = shape;
    this.buffers = this.allocate();
  }

  /** Slots taken. */
  get size(): number {
    return this.lengths.length;
  }

  /** Tokens of slot `slot`. */
  lengthOf(slot: number): number {
    return this.lengths[slot];
  }

  /** Columns that bound tensors have for `slots`. */
  columnsFor(slots: readonly number[]): number {
    return isPrefix(slots) ? this.tokenCapacity : Math.max(1, ...slots.map((slot) => this.lengths[slot]));
  }

  /** Takes a new slot, the last one. */
  add(): number {
    if (this.size === this.slotCapacity) this.regrow(this.slotCapacity * 2, this.tokenCapacity);
    return this.lengths.push(0) - 1;
  }

  /** Frees `slot`; the slot that was last (returned) now has its number. */
  remove(slot: number): number {
    const last = this.size - 1;
    if (slot !== last) {
      const slotSize = this.tokenCapacity * this.shape.headDim;
      const used = this.lengths[last] * this.shape.headDim;
      for (const buffer of this.buffers) buffer.copyWithin(slot * slotSize, last * slotSize, last * slotSize + used);
      this.lengths[slot] = this.lengths[last];
    }
    this.lengths.pop();
    return last;
  }

  /** `suffixKey.l.k`, `suffixValue.l.k` `[slots, columnsFor(slots), D]`. */
  bind(slots: readonly number[]): Readonly<Record<string, Tensor>> {
    const columns = this.columnsFor(slots);
    const slotSize = columns * this.shape.headDim;
    if (!isPrefix(slots)) return this.tensors(slots.length, columns, (buffer) => this.gather(buffer, slots, columns));
    if (this.bound?.slots !== slots.length) {
      const inputs = this.tensors(slots.length, columns, (buffer) => buffer.subarray(0, slots.length * slotSize));
      this.bound = { slots: slots.length, inputs };
    }
    return this.bound.inputs;
  }

  /** Appends the first `counts[b]` tokens of row b of the new keys and values `[B, T, K·D]` of every layer. */
  append(
    slots: readonly number[],
    counts: readonly number[],
    newTokens: number,
    rowsOf: (layer: number, kind: 0 | 1) => Float32Array,
  ): void {
    const { numLayers, numKvHeads, headDim } = this.shape;
    const longest = Math.max(...slots.map((slot, b) => this.lengths[slot] + counts[b]));
    if (longest > this.tokenCapacity) {
      let capacity = this.tokenCapacity;
      while (capacity < longest) capacity *= 2;
      this.regrow(this.slotCapacity, capacity);
    }
    const rowSize = numKvHeads * headDim;
    for (let layer = 0; layer < numLayers; layer++) {
      for (const kind of [0, 1] as const) {
        const rows = rowsOf(layer, kind);
        for (let b = 0; b < slots.length; b++) {
          const slot = slots[b];
          for (let t = 0; t < counts[b]; t++) {
            const from = (b * newTokens + t) * rowSize;
            const to = (slot * this.tokenCapacity + this.lengths[slot] + t) * headDim;
            for (let k = 0; k < numKvHeads; k++) {
              const source = rows.subarray(from + k * headDim, from + (k + 1) * headDim);
              this.buffers[(layer * numKvHeads + k) * 2 + kind].set(source, to);
            }
          }
        }
      }
    }
    for (let b = 0; b < slots.length; b++) this.lengths[slots[b]] += counts[b];
  }

  private tensors(
    numSlots: number,
    columns: number,
    dataOf: (buffer: Float32Array) => Float32Array,
  ): Readonly<Record<string, Tensor>> {
    const { numLayers, numKvHeads, headDim } = this.shape;
    const inputs: Record<string, Tensor> = {};
    for (let layer = 0; layer < numLayers; layer++) {
      for (let k = 0; k < numKvHeads; k++) {
        for (const [kind, name] of ["Key", "Value"].entries()) {
          const buffer = this.buffers[(layer * numKvHeads + k) * 2 + kind];
          inputs[`suffix${name}.${layer}.${k}`] = f32Tensor(dataOf(buffer), [numSlots, columns, headDim]);
        }
      }
    }
    return inputs;
  }

  private allocate(): Float32Array[] {
    const { numLayers, numKvHeads, headDim } = this.shape;
    const size = this.slotCapacity * this.tokenCapacity * headDim;
    return Array.from({ length: numLayers * numKvHeads * 2 }, () => new Float32Array(size));
  }

  private regrow(slotCapacity: number, tokenCapacity: number): void {
    const { headDim } = this.shape;
    const old = this.buffers;
    const oldSlotSize = this.tokenCapacity * headDim;
    this.slotCapacity = slotCapacity;
    this.tokenCapacity = tokenCapacity;
    this.buffers = this.allocate();
    this.bound = undefined;
    for (const [i, buffer] of old.entries()) {
      for (let slot = 0; slot < this.size; slot++) {
        const from = slot * oldSlotSize;
        this.buffers[i].set(buffer.subarray(from, from + this.lengths[slot] * headDim), slot * tokenCapacity * headDim);
      }
    }
  }

  private gather(buffer: Float32Array, slots: readonly number[], columns: number): Float32Array {
    const { headDim } = this.shape;
    const out = new Float32Array(slots.length * columns * headDim);
    for (let b = 0; b < slots.length; b++) {
      const from = slots[b] * this.tokenCapacity * headDim;
      out.set(buffer.subarray(from, from + this.lengths[slots[b]] * headDim), b * columns * headDim);
    }
    return out;
  }
}

function isPrefix(slots: readonly number[]): boolean {
  return slots.every((slot, b) => slot === b);
}
