/**
 * A context in the form the step graph reads: per layer and KV head, keys transposed once at
 * load (`[D, N]`) and values (`[N, D]`). Immutable; every batch reads the same memory.
 *
 * Layers in clusters that are recalled (recall-rows.ts) have keys and values `[N, D]`, cluster by
 * cluster.
 *
 * @module
 */
import type { DecodedLayer } from "@kvault/compression";
import type { DenseLayerKv, RaggedLayerKv } from "@kvault/core";
import { type ModelConfig, recallsLayer, windowOf } from "@kvault/model";
import type { ResidentContext } from "./model-runner.ts";
import { byCluster } from "./recall-rows.ts";
import { f32Tensor, i64Tensor, type Tensor } from "./session.ts";

/** The step graph's constant inputs of a context, ready to feed. */
export class ContextTensors implements ResidentContext {
  readonly nextPosition: number;
  readonly keptPairs: number;
  readonly bytes: number;
  /** Set where rows are in clusters: for the step graph that recalls. */
  readonly recalls: boolean;
  /** `contextKey.l.k`, `contextValue.l.k`; where clusters are recalled, what they are. */
  readonly inputs: Readonly<Record<string, Tensor>>;
  /** Kept pairs that a token reads, by `l.k`. */
  private readonly lengths: ReadonlyMap<string, number>;
  /** Where a head holds the latest positions and no others: their count, by `l.k`. */
  private readonly latest: ReadonlyMap<string, number>;
  private lastSplits: { readonly suffixColumns: number; readonly inputs: Readonly<Record<string, Tensor>> } | undefined;

  constructor(nextPosition: number, layers: Iterable<DecodedLayer>) {
    let recalls = false;
    const inputs: Record<string, Tensor> = {};
    const lengths = new Map<string, number>();
    const latest = new Map<string, number>();
    let keptPairs = 0;
    let bytes = 0;
    let layer = 0;
    for (const { numKvHeads, headDim, offset, position_n, key_nD, value_nD, recall } of layers) {
      recalls ||= recall !== undefined;
      for (let k = 0; k < numKvHeads; k++) {
        const start = offset[k] * headDim;
        const end = offset[k + 1] * headDim;
        const count = offset[k + 1] - offset[k];
        const id = `${layer}.${k}`;
        if (recall !== undefined && recallsLayer(layer)) {
          const rows = { key_ND: key_nD.subarray(start, end), value_ND: value_nD.subarray(start, end), headDim };
          const cluster_N = recall.cluster_n.subarray(offset[k], offset[k + 1]);
          Object.assign(inputs, byCluster(id, rows, cluster_N, recall.budgetRows));
          lengths.set(id, Math.min(count, recall.budgetRows));
        } else {
          const key_DN = transpose(key_nD.subarray(start, end), count, headDim);
          inputs[`contextKey.${id}`] = f32Tensor(key_DN, [headDim, count]);
          inputs[`contextValue.${id}`] = f32Tensor(value_nD.slice(start, end), [count, headDim]);
          lengths.set(id, count);
        }
        if (count === 0 || position_n[offset[k]] === nextPosition - count) latest.set(id, count);
        keptPairs += count;
        bytes += 2 * (end - start) * Float32Array.BYTES_PER_ELEMENT;
      }
      layer++;
    }
    this.nextPosition = nextPosition;
    this.keptPairs = keptPairs;
    this.bytes = bytes;
    this.recalls = recalls;
    this.inputs = inputs;
    this.lengths = lengths;
    this.latest = latest;
  }

  /**
   * How many of the latest positions the heads of windowed layers hold, the same in all; undefined
   * where the model has no such layers. RangeError unless that covers what the next token sees.
   */
  windowTokens(config: ModelConfig): number | undefined {
    const { slidingWindow, numLayers, numKvHeads } = config;
    if (slidingWindow === undefined) return undefined;
    const needed = Math.min(this.nextPosition, slidingWindow.tokens - 1);
    let found: number | undefined;
    for (let layer = 0; layer < numLayers; layer++) {
      if (windowOf(config, layer) === undefined) continue;
      for (let k = 0; k < numKvHeads; k++) {
        const count = this.latest.get(`${layer}.${k}`);
        if (count === undefined || count < needed || (found !== undefined && count !== found)) {
          throw new RangeError(
            `Cannot read context: layer ${layer}, head ${k} holds not the latest ${found ?? needed} positions`,
          );
        }
        found = count;
      }
    }
    return found;
  }

  /** `split.l.k`: suffix columns against kept pairs; the last answer is remembered, decoding asks for the same again. */
  splits(suffixColumns: number): Readonly<Record<string, Tensor>> {
    if (this.lastSplits?.suffixColumns !== suffixColumns) {
      const inputs: Record<string, Tensor> = {};
      for (const [id, count] of this.lengths) inputs[`split.${id}`] = i64Tensor([suffixColumns, count]);
      this.lastSplits = { suffixColumns, inputs };
    }
    return this.lastSplits.inputs;
  }
}

/** Makes `layers`, in order, resident. Positions follow from `nextPosition`, the context's original length. */
export function residentContext(nextPosition: number, layers: Iterable<DecodedLayer>): ResidentContext {
  return new ContextTensors(nextPosition, layers);
}

/** Every pair of a dense layer, as rows of equal length; shares memory. */
export function fullLayer({ numKvHeads, seqLen, headDim, key_KSD, value_KSD }: DenseLayerKv): RaggedLayerKv {
  return {
    numKvHeads,
    headDim,
    offset: Uint32Array.from({ length: numKvHeads + 1 }, (_, k) => k * seqLen),
    position_n: Uint32Array.from({ length: numKvHeads * seqLen }, (_, i) => i % seqLen),
    key_nD: key_KSD,
    value_nD: value_KSD,
  };
}

function transpose(rows_ND: Float32Array, count: number, headDim: number): Float32Array {
  const out_DN = new Float32Array(rows_ND.length);
  for (let n = 0; n < count; n++) {
    for (let d = 0; d < headDim; d++) out_DN[d * count + n] = rows_ND[n * headDim + d];
  }
  return out_DN;
}
