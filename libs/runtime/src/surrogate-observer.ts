/**
 * Predicted log scores of every pair, gathered head-major from the chunks of a prefill.
 *
 * @module
 */
import { globalLayers, type ModelConfig } from "@kvault/model";
import type { SurrogateWeights } from "./model-runner.ts";
import type { ChunkObserver } from "./prefill.ts";
import { perLayer, type Tensors } from "./session.ts";

export class SurrogateObserver implements ChunkObserver {
  /** Per layer `[kvHead, seq]`, 0 for windowed layers. */
  readonly result: readonly Float32Array[];
  private readonly layers: readonly number[];
  private readonly numKvHeads: number;
  private readonly seqLen: number;
  private readonly inputs: Tensors;

  constructor(config: ModelConfig, weights: SurrogateWeights, seqLen: number) {
    const { numLayers, numKvHeads, hiddenSize } = config;
    this.layers = globalLayers(config);
    const size = hiddenSize * numKvHeads;
    this.numKvHeads = numKvHeads;
    this.seqLen = seqLen;
    this.result = Array.from({ length: numLayers }, () => new Float32Array(numKvHeads * seqLen));
    this.inputs = {
      ...perLayer(this.layers, "surrogateWeight", (l) => weights.weight_LMK.subarray(l * size, (l + 1) * size), [
        hiddenSize,
        numKvHeads,
      ]),
      ...perLayer(this.layers, "surrogateBias", (l) => weights.bias_LK.subarray(l * numKvHeads, (l + 1) * numKvHeads), [
        numKvHeads,
      ]),
    };
  }

  bind(_: number, tokens: number): { inputs: Tensors; outputs: Tensors } {
    const { numKvHeads } = this;
    const rows = (): Float32Array => new Float32Array(tokens * numKvHeads);
    return { inputs: this.inputs, outputs: perLayer(this.layers, "surrogate", rows, [1, tokens, numKvHeads]) };
  }

  collect(start: number, tokens: number, outputs: Tensors): void {
    for (const layer of this.layers) {
      const score_KS = this.result[layer];
      const rows_TK = outputs[`surrogate.${layer}`].data as Float32Array;
      for (let t = 0; t < tokens; t++) {
        for (let k = 0; k < this.numKvHeads; k++) score_KS[k * this.seqLen + start + t] = rows_TK[t * this.numKvHeads + k];
      }
    }
  }
}
