/**
 * Model sizes from a weight source's metadata (GGUF keys), for any architecture prefix; what only
 * one architecture has is read by its family.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import { dequantise } from "./dequant/registry.ts";
import { loadFamily } from "./families/family.ts";
import type { WeightSource } from "./formats/weight-source.ts";
import type { ModelConfig } from "./types.ts";

/** One factor per rotated pair, where the file scales its rotation. */
const ROPE_FACTORS = "rope_freqs.weight";

/** Upper bounds on what a file may declare; generous against every published model. */
const MAX_LAYERS = 1024;
const MAX_HIDDEN = 1 << 20;
const MAX_HEADS = 4096;
const MAX_HEAD_DIM = 4096;
const MAX_VOCAB = 1 << 22;
const MAX_CONTEXT_TOKENS = 1 << 28;

/** Sizes of the source's model, its family's own included. Errors as {@link parseModelConfig}; MODEL_UNSUPPORTED without a family. */
export async function readModelConfig(source: WeightSource): Promise<ModelConfig> {
  const config = parseModelConfig(source);
  const family = await loadFamily(config.architecture);
  const scaled = source.tensors.has(ROPE_FACTORS) ? { ...config, ropeFactors: await readFactors(source, config) } : config;
  return family.configure?.(scaled, source.metadata) ?? scaled;
}

/**
 * Reads what metadata says for every architecture. MODEL_CORRUPT names a missing or impossible key,
 * MODEL_UNSUPPORTED a rotation we do not build.
 */
export function parseModelConfig({ metadata }: Pick<WeightSource, "metadata">): ModelConfig {
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
  if (scaling !== "none" && scaling !== "linear") {
    throw unsupported(`${architecture}.rope.scaling.type`, `rotation is scaled (${scaling})`);
  }
  const linearFactor = scaling === "linear" ? positive("rope.scaling.factor") : 1;
  const attentionScale = positive("attention.scale", 1 / Math.sqrt(headDim));
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
    ...(linearFactor === 1 ? {} : { ropeFactors: new Array<number>(headDim / 2).fill(linearFactor) }),
    // a file's f32 is 1/√headDim too
    ...(Math.abs(attentionScale * Math.sqrt(headDim) - 1) < 1e-6 ? {} : { attentionScale }),
  };
}

async function readFactors(source: WeightSource, { headDim }: ModelConfig): Promise<readonly number[]> {
  const { type } = source.tensors.get(ROPE_FACTORS) as { type: string };
  const factors = [...dequantise(type, await source.readTensor(ROPE_FACTORS))];
  if (factors.length !== headDim / 2 || !factors.every((factor) => factor > 0 && Number.isFinite(factor))) {
    throw corrupt(ROPE_FACTORS, `${factors.length} factors for ${headDim / 2} pairs, all must be positive`);
  }
  return factors;
}

function corrupt(key: string, what: string): KvaultError {
  return new KvaultError("MODEL_CORRUPT", `Cannot read model sizes: "${key}": ${what}`, { details: { key } });
}

function unsupported(key: string, what: string): KvaultError {
  return new KvaultError("MODEL_UNSUPPORTED", `Cannot use model: "${key}": ${what}`, { details: { key } });
}
