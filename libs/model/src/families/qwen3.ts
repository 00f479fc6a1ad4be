/**
 * Qwen3: Llama's decoder whose queries and keys are RMS-normed per head before rotation, with a
 * head size of its own (not hidden / heads) and no biases.
 *
 * @module
 */
import { buildDecoder, type DecoderTraits, decoderWeights } from "../graph/decoder.ts";
import type { ModelFamily } from "./family.ts";

const TRAITS: DecoderTraits = { queryKeyNorm: true };

export const family: ModelFamily = {
  architecture: "qwen3",
  weights: (config) => decoderWeights(config, TRAITS),
  build: (graph, config, inputs) => buildDecoder(graph, config, inputs, TRAITS),
};
