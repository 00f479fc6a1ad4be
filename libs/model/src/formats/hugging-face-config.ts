/**
 * `config.json` of a published model folder → the GGUF metadata keys that everything else reads.
 *
 * Multimodal models keep the decoder's part under `text_config`. Keys a model type may leave out
 * take its family's defaults.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { HuggingFaceTraits } from "../families/family.ts";
import { type Llama3Scaling, llama3Factors } from "../rope.ts";
import type { GgufScalar } from "./gguf-metadata.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

export interface TranslatedConfig {
  readonly metadata: ReadonlyMap<string, GgufScalar>;
  /** Divisors of the rotation's frequencies, where they are not all one. */
  readonly ropeFactors: Float32Array | undefined;
  /** A separate output matrix is to be ignored. */
  readonly tied: boolean;
}

/** Model types whose decoder is another architecture's. */
const ARCHITECTURES: Readonly<Record<string, string>> = { gemma3_text: "gemma3" };

/** GGUF key, without the architecture, of each size. */
const KEYS: Readonly<Record<string, string>> = {
  num_hidden_layers: "block_count",
  max_position_embeddings: "context_length",
  hidden_size: "embedding_length",
  intermediate_size: "feed_forward_length",
  num_attention_heads: "attention.head_count",
  num_key_value_heads: "attention.head_count_kv",
  rms_norm_eps: "attention.layer_norm_rms_epsilon",
  head_dim: "attention.key_length",
};

/** The decoder's part of `config.json`. */
function textConfig(json: JsonObject): JsonObject {
  return isObject(json["text_config"]) ? { ...json, ...json["text_config"] } : json;
}

/** Architecture of a `config.json`'s decoder. MODEL_CORRUPT when it names none. */
export function architectureOf(json: JsonObject): string {
  const type = textConfig(json)["model_type"];
  if (typeof type !== "string") throw wrong("MODEL_CORRUPT", "model_type", type);
  return ARCHITECTURES[type] ?? type;
}

/** MODEL_UNSUPPORTED for what no graph of ours computes, MODEL_CORRUPT for values of another type. */
export function translateConfig(json: JsonObject, architecture: string, traits: HuggingFaceTraits): TranslatedConfig {
  const config: JsonObject = { ...traits.defaults, ...textConfig(json) };
  refuseUnsupported(config, architecture, traits);
  const metadata = new Map<string, GgufScalar>([["general.architecture", architecture]]);
  const set = (key: string, value: unknown): void => {
    if (value === undefined || value === null) return;
    if (typeof value !== "number" && typeof value !== "string") throw wrong("MODEL_CORRUPT", key, value);
    metadata.set(`${architecture}.${key}`, value);
  };
  for (const [name, key] of Object.entries(KEYS)) set(key, config[name]);
  set("attention.value_length", config["head_dim"]);
  const scalar = config["query_pre_attn_scalar"];
  if (typeof scalar === "number") set("attention.scale", 1 / Math.sqrt(scalar));
  const { theta, windowTheta, scaling } = rotationOf(config);
  set("rope.freq_base", theta);
  if (traits.slidingWindow) {
    set("attention.sliding_window", config["sliding_window"]);
    set("attention.sliding_window_pattern", patternOf(config));
    set("rope.freq_base_swa", windowTheta);
  }
  const type = scaling["rope_type"] ?? scaling["type"] ?? "default";
  let ropeFactors: Float32Array | undefined;
  if (type === "llama3") {
    const headDim =
      (config["head_dim"] as number | undefined) ?? number(config, "hidden_size") / number(config, "num_attention_heads");
    ropeFactors = Float32Array.from(llama3Factors({ ropeTheta: number({ theta }, "theta"), headDim }, llama3Scaling(scaling)));
  } else if (type !== "default") {
    set("rope.scaling.type", type);
    set("rope.scaling.factor", scaling["factor"]);
  }
  return { metadata, ropeFactors, tied: config["tie_word_embeddings"] === true };
}

function refuseUnsupported(config: JsonObject, architecture: string, traits: HuggingFaceTraits): void {
  const refuse = (key: string): never => {
    throw wrong("MODEL_UNSUPPORTED", key, config[key]);
  };
  if (config["quantization_config"] !== undefined) refuse("quantization_config");
  if (config["attention_bias"] === true) refuse("attention_bias");
  if (config["mlp_bias"] === true) refuse("mlp_bias");
  if (config["use_sliding_window"] === true && !traits.slidingWindow) refuse("use_sliding_window");
  for (const cap of ["attn_logit_softcapping", "final_logit_softcapping"]) if (typeof config[cap] === "number") refuse(cap);
  const key = config["hidden_activation"] === undefined ? "hidden_act" : "hidden_activation";
  const expected = traits.activation ?? "silu";
  if (config[key] !== undefined && config[key] !== expected) refuse(key);
  if (!/^[a-z0-9_]+$/.test(architecture)) refuse("model_type");
}

/** Old files have `rope_theta`, `rope_local_base_freq`, `rope_scaling`; newer ones `rope_parameters`, perhaps by kind of layer. */
function rotationOf(config: JsonObject): { theta: unknown; windowTheta: unknown; scaling: JsonObject } {
  const parameters = asObject(config["rope_parameters"]);
  const full = asObject(parameters["full_attention"] ?? parameters);
  const windowed = asObject(parameters["sliding_attention"]);
  const old = asObject(config["rope_scaling"]);
  return {
    theta: full["rope_theta"] ?? config["rope_theta"],
    windowTheta: windowed["rope_theta"] ?? config["rope_local_base_freq"],
    scaling: Object.keys(old).length > 0 ? old : full,
  };
}

/** Every how many layers one sees everything. */
function patternOf(config: JsonObject): number | undefined {
  const types = config["layer_types"];
  if (!Array.isArray(types)) return (config["sliding_window_pattern"] ?? config["_sliding_window_pattern"]) as number | undefined;
  const pattern = types.indexOf("full_attention") + 1;
  const isRegular = types.every((type, layer) => (type === "full_attention") === ((layer + 1) % pattern === 0));
  if (pattern === 0 || !isRegular) throw wrong("MODEL_UNSUPPORTED", "layer_types", types.join(" "));
  return pattern;
}

function llama3Scaling(scaling: JsonObject): Llama3Scaling {
  return {
    factor: number(scaling, "factor"),
    lowFactor: number(scaling, "low_freq_factor"),
    highFactor: number(scaling, "high_freq_factor"),
    originalTokens: number(scaling, "original_max_position_embeddings"),
  };
}

function number(from: JsonObject, key: string): number {
  const value = from[key];
  if (typeof value !== "number") throw wrong("MODEL_CORRUPT", key, value);
  return value;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function asObject(value: unknown): JsonObject {
  return isObject(value) ? value : {};
}

function wrong(code: "MODEL_CORRUPT" | "MODEL_UNSUPPORTED", key: string, value: unknown): KvaultError {
  const found = String(JSON.stringify(value) ?? value).slice(0, 200);
  return new KvaultError(code, `Cannot use config.json: "${key}" is ${found}`, { details: { key, found } });
}
