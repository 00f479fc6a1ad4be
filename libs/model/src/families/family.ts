/**
 * The contract of a model family and how one is found: the file name is the architecture.
 *
 * A family says which tensors of a GGUF it needs and in what form, and writes the body of
 * the network; what surrounds it (inputs, caches, outputs) belongs to the graph kinds in
 * graph/, so one body serves prefill, the repeat pass and the step.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { GgufMetadata } from "../formats/gguf-metadata.ts";
import type { GraphBuilder, Value } from "../graph/graph-builder.ts";
import type { ModelConfig } from "../types.ts";

/** How a GGUF tensor is stored for ONNX Runtime. */
export interface WeightPlan {
  /** Name in the GGUF. */
  readonly name: string;
  /** `linear` and `embedding` stay quantised in blocks; `vector` becomes f32. */
  readonly form: "linear" | "embedding" | "vector";
  /** Set for query and key projections whose rows a GGUF keeps in interleaved-RoPE order: rows per head. */
  readonly interleavedHeadDim?: number;
  /** An optional tensor is skipped when the file lacks it. */
  readonly optional?: boolean;
}

/** One layer's attention before keys of the past are joined. */
export interface AttentionTensors {
  /** Rotated, `[B, T, H·D]`. */
  readonly q: Value;
  /** Rotated, `[B, T, K·D]`. */
  readonly k: Value;
  /** `[B, T, K·D]`. */
  readonly v: Value;
  /** What entered the projections: the normed hidden state, `[B, T, M]`. */
  readonly hidden: Value;
  /** The output projection, `[.., H·D]` → `[.., M]`, for who must know what a value adds. */
  project(attended: Value): Value;
}

/** What a graph kind gives the network's body. */
export interface DecoderInputs {
  /** `[B, T]` i64. */
  readonly ids: Value;
  /** `[B, T]` i64 absolute positions. */
  readonly positions: Value;
  /** Attention of one layer → `[B,T,H·D]`. */
  attend(layer: number, tensors: AttentionTensors): Value;
  /** Rows of `[B,T,M]` whose logits are wanted → `[rows, M]`. */
  selectRows(hidden: Value): Value;
}

/** How a published model folder of a family differs from Llama's (formats/safetensors-folder.ts). */
export interface HuggingFaceTraits {
  /** Names of a layer's parts that mean something else here, e.g. `post_attention_layernorm`. */
  readonly layerParts?: Readonly<Record<string, string>>;
  /** What `config.json` may leave out. */
  readonly defaults?: Readonly<Record<string, number | boolean>>;
  /** Name of the activation in `config.json`. @default "silu" */
  readonly activation?: string;
  /** Norms multiply by 1 + weight. */
  readonly normsAreOffsets?: true;
  /** Some layers see a sliding window. */
  readonly slidingWindow?: true;
}

export interface ModelFamily {
  /** GGUF `general.architecture`. */
  readonly architecture: string;
  readonly huggingFace?: HuggingFaceTraits;
  /** Adds what only this architecture's metadata says. */
  configure?(config: ModelConfig, metadata: GgufMetadata): ModelConfig;
  weights(config: ModelConfig): readonly WeightPlan[];
  /** Writes the network; returns the logits `[rows, V]`. */
  build(graph: GraphBuilder, config: ModelConfig, inputs: DecoderInputs): Value;
}

/** Loads `families/<architecture>`; MODEL_UNSUPPORTED when there is no such file. */
export async function loadFamily(architecture: string): Promise<ModelFamily> {
  if (!/^[a-z0-9_]{1,32}$/.test(architecture) || architecture === "family") throw unsupported(architecture);
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  let loaded: { family: ModelFamily };
  try {
    loaded = await import(`./${architecture}.${extension}`);
  } catch (cause) {
    throw unsupported(architecture, cause);
  }
  return loaded.family;
}

function unsupported(architecture: string, cause?: unknown): KvaultError {
  return new KvaultError("MODEL_UNSUPPORTED", `Cannot run model: no family for architecture "${architecture}"`, {
    details: { architecture },
    cause,
  });
}
