/**
 * Sums normal equations of per-token targets over the chunks of a prefill, in f64.
 *
 * @module
 */
import { globalLayers, type ModelConfig } from "@kvault/model";
import type { ChunkObserver } from "../prefill.ts";
import { i64Tensor, perLayer, type Tensors } from "../session.ts";
import type { NormalSums } from "./ridge.ts";

export class FitObserver implements ChunkObserver {
  private readonly config: ModelConfig;
  private readonly targets: readonly Float32Array[];
  private readonly from: number;
  private readonly sums: readonly NormalSums[];

  /** Adds to `sums` (per layer) the tokens from `from` on; `targets` are `[kvHead, seq]` per layer. */
  constructor(config: ModelConfig, targets: readonly Float32Array[], from: number, sums: readonly NormalSums[]) {
    this.config = config;
    this.targets = targets;
    this.from = from;
    this.sums = sums;
  }

  bind(start: number, tokens: number): { inputs: Tensors; outputs: Tensors } {
    const { numKvHeads: K, hiddenSize: M } = this.config;
    const layers = globalLayers(this.config);
    const target = (layer: number): Float32Array => {
      const target_KS = this.targets[layer];
      const seqLen = target_KS.length / K;
      return Float32Array.from({ length: tokens * K }, (_, i) => target_KS[(i % K) * seqLen + start + Math.floor(i / K)]);
    };
    return {
      inputs: {
        fitFrom: i64Tensor([this.skipped(start, tokens)]),
        ...perLayer(layers, "target", target, [tokens, K]),
      },
      outputs: Object.assign(
        {},
        ...(
          [
            ["gram", [M, M]],
            ["cross", [M, K]],
            ["hiddenSum", [1, M]],
            ["targetSum", [1, K]],
          ] as const
        ).map(([name, dims]) => perLayer(layers, name, () => new Float32Array(dims[0] * dims[1]), dims)),
      ),
    };
  }

  collect(start: number, tokens: number, outputs: Tensors): void {
    for (const layer of globalLayers(this.config)) {
      const sums = this.sums[layer];
      sums.count += tokens - this.skipped(start, tokens);
      for (const [name, into] of [
        ["gram", sums.gram],
        ["cross", sums.cross],
        ["hiddenSum", sums.featureSum],
        ["targetSum", sums.targetSum],
      ] as const) {
        const values = outputs[`${name}.${layer}`].data as Float32Array;
        for (let i = 0; i < values.length; i++) into[i] += values[i];
      }
    }
  }

  private skipped(start: number, tokens: number): number {
    return Math.min(tokens, Math.max(0, this.from - start));
  }
}
