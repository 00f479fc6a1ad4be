/**
 * Model sizes and identity from GGUF metadata, for any architecture prefix.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { GgufFile } from "./formats/gguf.ts";
import type { ModelConfig } from "./types.ts";

/** Upper bounds on what a file may declare; generous against every published model. */
const MAX_LAYERS = 1024;
const MAX_HIDDEN = 1 << 20;
const MAX_HEADS = 4096;
const MAX_HEAD_DIM = 4096;
const MAX_VOCAB = 1 << 22;
const MAX_CONTEXT_TOKENS = 1 << 28;

/** Reads sizes. MODEL_CORRUPT names a missing or impossible key, MODEL_UNSUPPORTED a rotation we do not build. */
export function parseModelConfig(gguf: Pick<GgufFile, "metadata" | "tensors">): ModelConfig {
  const { metadata } = gguf;
  const architecture = metadata.string("general.architecture");
  if (!/^[a-z0-9_]+$/.test(architecture)) {
    throw corrupt("general.architecture", `"${architecture.slice(0, 60)}" is not an architecture name`);
  }
  const count = (name: string, limit: number, fallback?: number): number => {
    const key = `${architecture}.${name}`;
    const value = metadata.number(key, fallback);
    if (!Number.isInteger(value) || value < 1 || value > limit)
      throw corrupt(key, `${value} is not a count between 1 and ${limit}`);
    return value;
  };
  const positive = (name: string, fallback?: number): number => {
    const key = `${architecture}.${name}`;
    const value = metadata.number(key, fallback);
    if (!(value > 0 && Number.isFinite(value))) throw corrupt(key, `${value} is not a positive number`);
    return value;
  };
  const hiddenSize = count("embedding_length", MAX_HIDDEN);
  const numQueryHeads = count("attention.head_count", MAX_HEADS);
  const numKvHeads = count("attention.head_count_kv", MAX_HEADS, numQueryHeads);
  if (numQueryHeads % numKvHeads !== 0) {
    throw corrupt(`${architecture}.attention.head_count_kv`, `${numKvHeads} does not divide ${numQueryHeads} query heads`);
  }
  const headDim = count("attention.key_length", MAX_HEAD_DIM, hiddenSize / numQueryHeads);
  if (count("attention.value_length", MAX_HEAD_DIM, headDim) !== headDim) {
    throw unsupported(`${architecture}.attention.value_length`, "values and keys differ in size");
  }
  if (count("rope.dimension_count", MAX_HEAD_DIM, headDim) !== headDim) {
    throw unsupported(`${architecture}.rope.dimension_count`, "only part of a head is rotated");
  }
  const scaling = metadata.string(`${architecture}.rope.scaling.type`, "none");
  if (scaling !== "none" || gguf.tensors.has("rope_freqs.weight")) {
    throw unsupported(`${architecture}.rope.scaling.type`, `rotation is scaled (${scaling})`);
  }
  const vocabSize = metadata.arrayLength("tokenizer.ggml.tokens");
  if (vocabSize < 1 || vocabSize > MAX_VOCAB) throw corrupt("tokenizer.ggml.tokens", `${vocabSize} tokens`);
  return {
    architecture,
    numLayers: count("block_count", MAX_LAYERS),
    hiddenSize,
    ffnSize: count("feed_forward_length", MAX_HIDDEN),
    numQueryHeads,
    numKvHeads,
    headDim,
    vocabSize,
    maxTokens: count("context_length", MAX_CONTEXT_TOKENS),
    rmsEpsilon: positive("attention.layer_norm_rms_epsilon"),
    ropeTheta: positive("rope.freq_base", 10_000),
  };
}

/** Canonical text of a model's rotation, as it stands in {@link ModelIdentity}. */
export function ropeText(config: Pick<ModelConfig, "ropeTheta" | "headDim">): string {
  return `rope(theta=${config.ropeTheta},dim=${config.headDim})`;
}

function corrupt(key: string, what: string): KvaultError {
  return new KvaultError("MODEL_CORRUPT", `Cannot read model sizes: "${key}": ${what}`, { details: { key } });
}

function unsupported(key: string, what: string): KvaultError {
  return new KvaultError("MODEL_UNSUPPORTED", `Cannot use model: "${key}": ${what}`, { details: { key } });
}
