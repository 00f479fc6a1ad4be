/**
 * Gemma 3 (text): embeddings times √M, norms before and after attention and feed-forward, queries
 * and keys normed per head, gating by GELU (tanh form), tied embeddings. Five of six layers see a
 * sliding window and rotate with a base of their own; the sixth sees everything.
 *
 * Norm weights are stored as the factor itself (GGUF files add Gemma's 1). Files do not say which
 * layers are windowed unless they break the pattern, nor that the 27B model (62 layers) scales its
 * logits by hidden / heads instead of the head size.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { GgufMetadata } from "../formats/gguf-metadata.ts";
import { buildDecoder, type DecoderTraits, decoderWeights } from "../graph/decoder.ts";
import type { ModelConfig } from "../types.ts";
import type { ModelFamily } from "./family.ts";

const TRAITS: DecoderTraits = { queryKeyNorm: true, postNorms: true, activation: "gelu", scaleEmbeddings: true };
const DEFAULT_PATTERN = 6;
const DEFAULT_LOCAL_THETA = 10_000;
/** The model whose logits are scaled by hidden / heads. */
const LAYERS_OF_27B = 62;

function configure(config: ModelConfig, metadata: GgufMetadata): ModelConfig {
  const { numLayers, hiddenSize, numQueryHeads } = config;
  const tokens = metadata.number("gemma3.attention.sliding_window");
  const pattern = metadata.number("gemma3.attention.sliding_window_pattern", DEFAULT_PATTERN);
  const ropeTheta = metadata.number("gemma3.rope.freq_base_swa", DEFAULT_LOCAL_THETA);
  const isValid = Number.isInteger(tokens) && tokens >= 2 && Number.isInteger(pattern) && pattern >= 1 && ropeTheta > 0;
  if (!isValid) {
    const found = `windows of ${tokens}, pattern ${pattern}, rotation base ${ropeTheta}`;
    throw new KvaultError("MODEL_CORRUPT", `Cannot read model sizes: "gemma3.attention.sliding_window": ${found}`);
  }
  const layers = Array.from({ length: numLayers }, (_, layer) => layer);
  const globalLayers = layers.filter((layer) => (layer + 1) % pattern === 0);
  if (globalLayers.length === 0) {
    throw new KvaultError("MODEL_UNSUPPORTED", `Cannot use model: none of its ${numLayers} layers sees the whole context`);
  }
  const ownScale = numLayers === LAYERS_OF_27B && config.attentionScale === undefined;
  return {
    ...config,
    ...(ownScale ? { attentionScale: 1 / Math.sqrt(hiddenSize / numQueryHeads) } : {}),
    ...(globalLayers.length === numLayers ? {} : { slidingWindow: { tokens, globalLayers, ropeTheta } }),
  };
}

export const family: ModelFamily = {
  architecture: "gemma3",
  huggingFace: {
    layerParts: {
      post_attention_layernorm: "post_attention_norm",
      pre_feedforward_layernorm: "ffn_norm",
      post_feedforward_layernorm: "post_ffw_norm",
    },
    defaults: {
      num_attention_heads: 8,
      num_key_value_heads: 4,
      head_dim: 256,
      max_position_embeddings: 131_072,
      rms_norm_eps: 1e-6,
      rope_theta: 1_000_000,
      query_pre_attn_scalar: 256,
      tie_word_embeddings: true,
    },
    activation: "gelu_pytorch_tanh",
    normsAreOffsets: true,
    slidingWindow: true,
  },
  configure,
  weights: (config) => decoderWeights(config, TRAITS),
  build: (graph, config, inputs) => buildDecoder(graph, config, inputs, TRAITS),
};
