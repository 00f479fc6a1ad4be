/**
 * Qwen2 and Qwen2.5: Llama's decoder with biases on query, key and value. The key biases make
 * outlier channels: mind them when quantising keys.
 *
 * @module
 */
import { buildDecoder, type DecoderTraits, decoderWeights } from "../graph/decoder.ts";
import type { ModelFamily } from "./family.ts";

const TRAITS: DecoderTraits = { attentionBias: true };

export const family: ModelFamily = {
  architecture: "qwen2",
  weights: (config) => decoderWeights(config, TRAITS),
  build: (graph, config, inputs) => buildDecoder(graph, config, inputs, TRAITS),
};
