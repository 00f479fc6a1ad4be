import { describe, expect, test } from "vitest";
import { parseModelConfig } from "../config.ts";
import { loadFamily } from "../families/family.ts";
import { metadataOf } from "../testing/tokenizer-metadata.ts";
import type { ModelConfig } from "../types.ts";
import { architectureOf, type JsonObject, translateConfig } from "./hugging-face-config.ts";

async function configOf(
  json: JsonObject,
): Promise<{ config: ModelConfig; ropeFactors: Float32Array | undefined; tied: boolean }> {
  const architecture = architectureOf(json);
  const family = await loadFamily(architecture);
  const { metadata, ropeFactors, tied } = translateConfig(json, architecture, family.huggingFace ?? {});
  const all = metadataOf({ ...Object.fromEntries(metadata), "tokenizer.ggml.tokens": ["a"] });
  const config = parseModelConfig({ metadata: all });
  return { config: family.configure?.(config, all) ?? config, ropeFactors, tied };
}

describe("translateConfig()", () => {
  test("reads Llama 3.1 8B's file", async () => {
    const { config, ropeFactors, tied } = await configOf({
      model_type: "llama",
      attention_bias: false,
      hidden_act: "silu",
      hidden_size: 4096,
      intermediate_size: 14336,
      max_position_embeddings: 131072,
      mlp_bias: false,
      num_attention_heads: 32,
      num_hidden_layers: 32,
      num_key_value_heads: 8,
      rms_norm_eps: 1e-5,
      rope_scaling: {
        factor: 8,
        high_freq_factor: 4,
        low_freq_factor: 1,
        original_max_position_embeddings: 8192,
        rope_type: "llama3",
      },
      rope_theta: 500000,
      tie_word_embeddings: false,
      vocab_size: 128256,
    });
    expect(config).toMatchObject({ numLayers: 32, numKvHeads: 8, headDim: 128, ropeTheta: 500_000, maxTokens: 131_072 });
    expect(config).not.toHaveProperty("ropeFactors");
    expect(tied).toBe(false);
    expect(ropeFactors).toHaveLength(64);
    expect(ropeFactors?.[28]).toBe(1);
    expect(0.00141421 / (ropeFactors?.[32] as number)).toBeCloseTo(0.00052485, 7);
    expect(ropeFactors?.[36]).toBe(8);
  });

  test("reads Qwen2.5 14B's file", async () => {
    const { config, ropeFactors } = await configOf({
      model_type: "qwen2",
      hidden_act: "silu",
      hidden_size: 5120,
      intermediate_size: 13824,
      max_position_embeddings: 32768,
      max_window_layers: 70,
      num_attention_heads: 40,
      num_hidden_layers: 48,
      num_key_value_heads: 8,
      rms_norm_eps: 1e-6,
      rope_theta: 1000000,
      sliding_window: 131072,
      tie_word_embeddings: false,
      use_sliding_window: false,
    });
    expect(config).toMatchObject({ numLayers: 48, numQueryHeads: 40, headDim: 128, ffnSize: 13_824 });
    expect(config).not.toHaveProperty("slidingWindow");
    expect(ropeFactors).toBeUndefined();
  });

  test("reads Gemma 3 12B's file, which leaves out what its library knows", async () => {
    const { config, tied } = await configOf({
      model_type: "gemma3",
      text_config: {
        hidden_size: 3840,
        intermediate_size: 15360,
        model_type: "gemma3_text",
        num_attention_heads: 16,
        num_hidden_layers: 48,
        num_key_value_heads: 8,
        rope_scaling: { factor: 8, rope_type: "linear" },
        sliding_window: 1024,
      },
      vision_config: { hidden_size: 1152, model_type: "siglip_vision_model" },
    });
    expect(config).toMatchObject({ architecture: "gemma3", headDim: 256, rmsEpsilon: 1e-6, ropeTheta: 1e6 });
    expect(config.slidingWindow).toEqual({ tokens: 1024, globalLayers: [5, 11, 17, 23, 29, 35, 41, 47], ropeTheta: 10_000 });
    expect(config.ropeFactors).toEqual(new Array(128).fill(8));
    expect(config).not.toHaveProperty("attentionScale");
    expect(tied).toBe(true);
  });

  test("refuses layers whose windows follow no pattern", async () => {
    const types = ["full_attention", "sliding_attention", "full_attention", "full_attention"];
    await expect(
      configOf({ model_type: "gemma3_text", sliding_window: 512, num_hidden_layers: 4, layer_types: types }),
    ).rejects.toMatchObject({ code: "MODEL_UNSUPPORTED" });
  });

  test("names what is missing", async () => {
    await expect(configOf({ model_type: "llama", hidden_size: 64 })).rejects.toThrow(/"llama\.attention\.head_count"/);
    await expect(configOf({})).rejects.toMatchObject({ code: "MODEL_CORRUPT" });
  });
});
