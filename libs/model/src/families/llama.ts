/**
 * Llama: pre-norm decoder, SwiGLU, rotary positions, no biases.
 *
 * llama.cpp's converter stores query and key rows so that rotation pairs are neighbours;
 * they are put back into half-split order (a whole-row permutation, exact), so records hold
 * keys in the order every other tool expects.
 *
 * @module
 */
import { buildDecoder, decoderWeights } from "../graph/decoder.ts";
import type { ModelFamily } from "./family.ts";

export const family: ModelFamily = {
  architecture: "llama",
  weights: (config) => decoderWeights(config, { interleavedRows: true, attentionBias: false }),
  build: (graph, config, inputs) => buildDecoder(graph, config, inputs),
};
