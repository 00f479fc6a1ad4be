/**
 * Keeps a fixed draw of the rotated queries of a pass, for the value refit.
 *
 * @module
 */
import { type QuerySample, sampleQueries } from "@kvault/compression";
import { globalLayers, type ModelConfig } from "@kvault/model";
import type { ChunkObserver } from "./prefill.ts";
import { perLayer, type Tensors } from "./session.ts";

export class QuerySampler implements ChunkObserver {
  /** Per layer `[kvHead, m, headDim]`; empty for windowed layers. */
  readonly result: readonly Float32Array[];
  private readonly config: ModelConfig;
  private readonly layers: readonly number[];
  private readonly sample: QuerySample;
  private seenTokens = 0;

  /** Draws `numQueries` per KV head from a pass of `numTokens` tokens. */
  constructor(config: ModelConfig, numTokens: number, numQueries: number) {
    const { numLayers, numKvHeads, numQueryHeads, headDim } = config;
    this.config = config;
    this.sample = sampleQueries(numTokens, numQueryHeads / numKvHeads, numQueries);
    const size = numKvHeads * this.sample.token_M.length * headDim;
    this.layers = globalLayers(config);
    this.result = Array.from({ length: numLayers }, (_, layer) => new Float32Array(this.layers.includes(layer) ? size : 0));
  }

  bind(_: number, tokens: number): { inputs: Tensors; outputs: Tensors } {
    const { numQueryHeads, headDim } = this.config;
    const size = numQueryHeads * headDim;
    return { inputs: {}, outputs: perLayer(this.layers, "query", () => new Float32Array(tokens * size), [1, tokens, size]) };
  }

  collect(_: number, tokens: number, outputs: Tensors): void {
    const { numKvHeads, numQueryHeads, headDim: D } = this.config;
    const groupSize = numQueryHeads / numKvHeads;
    const { token_M, head_M } = this.sample;
    const M = token_M.length;
    for (const layer of this.layers) {
      const query_KMD = this.result[layer];
      const rows_THD = outputs[`query.${layer}`].data as Float32Array;
      for (let m = 0; m < M; m++) {
        const t = token_M[m] - this.seenTokens;
        if (t < 0 || t >= tokens) continue;
        for (let k = 0; k < numKvHeads; k++) {
          const from = (t * numQueryHeads + k * groupSize + head_M[m]) * D;
          query_KMD.set(rows_THD.subarray(from, from + D), (k * M + m) * D);
        }
      }
    }
    this.seenTokens += tokens;
  }
}

/** Draws of two passes side by side: per layer `[kvHead, m₁ + m₂, headDim]`. */
export function joinQueries(
  first: readonly Float32Array[],
  second: readonly Float32Array[],
  { numKvHeads }: Pick<ModelConfig, "numKvHeads">,
): Float32Array[] {
  return first.map((a_KMD, layer) => {
    const b_KMD = second[layer];
    const [a, b] = [a_KMD.length / numKvHeads, b_KMD.length / numKvHeads];
    const out = new Float32Array(a_KMD.length + b_KMD.length);
    for (let k = 0; k < numKvHeads; k++) {
      out.set(a_KMD.subarray(k * a, (k + 1) * a), k * (a + b));
      out.set(b_KMD.subarray(k * b, (k + 1) * b), k * (a + b) + a);
    }
    return out;
  });
}
