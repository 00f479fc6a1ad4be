/**
 * Llama: pre-norm decoder, SwiGLU, rotary positions, no biases. Llama 3.1 and later scale the
 * rotation (rope.ts), which is in the configuration.
 *
 * llama.cpp's converter stores query and key rows so that rotation pairs are neighbours;
 * they are put back into half-split order (a whole-row permutation, exact), so records hold
 * keys in the order every other tool expects.
 *
 * @module
 */
import { buildDecoder, type DecoderTraits, decoderWeights } from "../graph/decoder.ts";
import type { ModelFamily } from "./family.ts";

const TRAITS: DecoderTraits = { interleavedRows: true };

export const family: ModelFamily = {
  architecture: "llama",
  weights: (config) => decoderWeights(config, TRAITS),
  build: (graph, config, inputs) => buildDecoder(graph, config, inputs, TRAITS),
};
