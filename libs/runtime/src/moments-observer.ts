/**
 * Mean and covariance of a context's queries before rotation, summed chunk by chunk in f64;
 * 0 for windowed layers, which are not observed.
 *
 * @module
 */
import { globalLayers, type ModelConfig } from "@kvault/model";
import type { QueryMoments } from "./model-runner.ts";
import type { ChunkObserver } from "./prefill.ts";
import { i64Tensor, perLayer, type Tensors } from "./session.ts";

export class MomentsObserver implements ChunkObserver {
  private readonly config: ModelConfig;
  private readonly from: number;
  private count = 0;
  /** Per layer `[H, D]` and `[H, D, D]`. */
  private readonly sums: Float64Array[];
  private readonly outers: Float64Array[];

  /** Counts queries of positions `from …`. */
  constructor(config: ModelConfig, from: number) {
    this.config = config;
    this.from = from;
    const { numLayers, numQueryHeads, headDim } = config;
    const allocate = (size: number): Float64Array[] => Array.from({ length: numLayers }, () => new Float64Array(size));
    this.sums = allocate(numQueryHeads * headDim);
    this.outers = allocate(numQueryHeads * headDim * headDim);
  }

  bind(start: number, tokens: number): { inputs: Tensors; outputs: Tensors } {
    const { numQueryHeads: H, headDim: D } = this.config;
    const layers = globalLayers(this.config);
    const skipped = Math.min(tokens, Math.max(0, this.from - start));
    return {
      inputs: { momentsFrom: i64Tensor([skipped]) },
      outputs: {
        ...perLayer(layers, "querySum", () => new Float32Array(H * D), [H, D]),
        ...perLayer(layers, "queryOuter", () => new Float32Array(H * D * D), [H, D, D]),
      },
    };
  }

  collect(start: number, tokens: number, outputs: Tensors): void {
    const counted = tokens - Math.min(tokens, Math.max(0, this.from - start));
    if (counted === 0) return;
    this.count += counted;
    for (const layer of globalLayers(this.config)) {
      addInPlace(this.sums[layer], outputs[`querySum.${layer}`].data as Float32Array);
      addInPlace(this.outers[layer], outputs[`queryOuter.${layer}`].data as Float32Array);
    }
  }

  result(): QueryMoments[] {
    return this.sums.map((sum_HD, layer) => momentsOf(sum_HD, this.outers[layer], this.count, this.config.headDim));
  }
}

function momentsOf(sum_HD: Float64Array, outer_HDD: Float64Array, count: number, D: number): QueryMoments {
  const mean_HD = new Float32Array(sum_HD.length);
  const covariance_HDD = new Float32Array(outer_HDD.length);
  if (count === 0) return { mean_HD, covariance_HDD };
  const mean = sum_HD.map((sum) => sum / count);
  mean_HD.set(mean);
  for (let row = 0; row < mean.length; row++) {
    const head = row - (row % D);
    for (let d = 0; d < D; d++) covariance_HDD[row * D + d] = outer_HDD[row * D + d] / count - mean[row] * mean[head + d];
  }
  return { mean_HD, covariance_HDD };
}

function addInPlace(sum: Float64Array, values: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] += values[i];
}
