import { bytesOf } from "@kvault/core";
import { describe, expect, test } from "vitest";
import { parseModelConfig, readModelConfig } from "./config.ts";
import type { WeightSource } from "./formats/weight-source.ts";
import { metadataOf } from "./testing/tokenizer-metadata.ts";

const VALUES: Record<string, string | number | string[]> = {
  "general.architecture": "qwen2",
  "qwen2.block_count": 24,
  "qwen2.context_length": 32768,
  "qwen2.embedding_length": 896,
  "qwen2.feed_forward_length": 4864,
  "qwen2.attention.head_count": 14,
  "qwen2.attention.head_count_kv": 2,
  "qwen2.attention.layer_norm_rms_epsilon": 1e-6,
  "qwen2.rope.freq_base": 1_000_000,
  "tokenizer.ggml.tokens": ["a", "b", "c"],
};

const parse = (change: Record<string, string | number | undefined>) => {
  const values = Object.fromEntries(Object.entries({ ...VALUES, ...change }).filter(([, value]) => value !== undefined));
  return parseModelConfig({ metadata: metadataOf(values as Record<string, string | number | string[]>) });
};

/** A source with one tensor of factors, or none. */
const source = (change: Record<string, string | number>, factors?: readonly number[]): WeightSource => {
  const bytes = bytesOf(Float32Array.from(factors ?? []));
  const tensors = new Map(
    factors && [["rope_freqs.weight", { type: "f32", shape: [factors.length], byteLength: bytes.byteLength }]],
  );
  return {
    path: "test",
    fileBytes: 0,
    metadata: metadataOf({ ...VALUES, ...change }),
    tensors,
    interleavedRows: true,
    readTensor: async () => bytes,
    close: async () => undefined,
  };
};

describe("parseModelConfig()", () => {
  test("reads the sizes under the architecture's prefix", () => {
    expect(parse({})).toEqual({
      architecture: "qwen2",
      numLayers: 24,
      hiddenSize: 896,
      ffnSize: 4864,
      numQueryHeads: 14,
      numKvHeads: 2,
      headDim: 64,
      vocabSize: 3,
      maxTokens: 32768,
      rmsEpsilon: 1e-6,
      ropeTheta: 1_000_000,
    });
  });

  test("fills in what files may leave out", () => {
    const config = parse({ "qwen2.attention.head_count_kv": undefined, "qwen2.rope.freq_base": undefined });
    expect(config).toMatchObject({ numKvHeads: 14, ropeTheta: 10_000 });
    expect(parse({ "qwen2.attention.key_length": 128, "qwen2.attention.value_length": 128 })).toMatchObject({ headDim: 128 });
  });

  test.each([
    ["a missing size", { "qwen2.block_count": undefined }, "MODEL_CORRUPT", /"qwen2\.block_count".*found nothing/],
    ["a size that is a fraction", { "qwen2.block_count": 2.5 }, "MODEL_CORRUPT", /2\.5 is not a count/],
    ["a size over its limit", { "qwen2.block_count": 1e6 }, "MODEL_CORRUPT", /1000000 is not a count between 1 and 1024/],
    ["heads that do not divide", { "qwen2.attention.head_count_kv": 3 }, "MODEL_CORRUPT", /3 does not divide 14/],
    [
      "a head size that is a fraction",
      { "qwen2.attention.head_count": 15, "qwen2.attention.head_count_kv": 5 },
      "MODEL_CORRUPT",
      /key_length/,
    ],
    ["an epsilon of zero", { "qwen2.attention.layer_norm_rms_epsilon": 0 }, "MODEL_CORRUPT", /not a positive number/],
    ["an architecture that is a path", { "general.architecture": "../x" }, "MODEL_CORRUPT", /not an architecture name/],
    ["a partial rotation", { "qwen2.rope.dimension_count": 32 }, "MODEL_UNSUPPORTED", /only part of a head/],
    ["a scaled rotation", { "qwen2.rope.scaling.type": "yarn" }, "MODEL_UNSUPPORTED", /yarn/],
  ])("refuses %s", (_, change, code, message) => {
    expect(() => parse(change)).toThrow(message);
    expect(() => parse(change)).toThrow(expect.objectContaining({ code }));
  });

  test("reads linear scaling and a scale of the logits of its own", () => {
    const config = parse({ "qwen2.rope.scaling.type": "linear", "qwen2.rope.scaling.factor": 8, "qwen2.attention.scale": 0.1 });
    expect(config).toMatchObject({ ropeFactors: new Array(32).fill(8), attentionScale: 0.1 });
    expect(parse({ "qwen2.attention.scale": Math.fround(1 / 8) })).not.toHaveProperty("attentionScale");
  });
});

describe("readModelConfig()", () => {
  test("takes the factors of the rotation from their tensor", async () => {
    const factors = Array.from({ length: 32 }, (_, i) => 1 + i);
    expect(await readModelConfig(source({}, factors))).toMatchObject({ ropeFactors: factors });
    expect(await readModelConfig(source({}))).not.toHaveProperty("ropeFactors");
  });

  test.each([
    ["too few", [1, 2]],
    ["none above zero", new Array(32).fill(0)],
  ])("refuses factors: %s", async (_, factors) => {
    await expect(readModelConfig(source({}, factors))).rejects.toMatchObject({ code: "MODEL_CORRUPT" });
  });

  test("refuses an architecture without a family", async () => {
    const strange = source({ "general.architecture": "mamba" });
    await expect(readModelConfig(strange)).rejects.toMatchObject({ code: expect.stringMatching(/^MODEL_/) });
  });

  test.each([
    [18, {}, [5, 11, 17]],
    [4, { "gemma3.attention.sliding_window_pattern": 2 }, [1, 3]],
  ])("finds the layers of %i that see everything", async (numLayers, change, globalLayers) => {
    const config = await readModelConfig(source(gemma({ "gemma3.block_count": numLayers, ...change })));
    expect(config.slidingWindow).toEqual({ tokens: 512, globalLayers, ropeTheta: 10_000 });
    expect(config).not.toHaveProperty("attentionScale");
  });

  test("gives the 27B model the scale that its files do not name", async () => {
    const sizes = { "gemma3.block_count": 62, "gemma3.embedding_length": 5376, "gemma3.attention.head_count": 32 };
    const config = await readModelConfig(source(gemma({ ...sizes, "gemma3.attention.head_count_kv": 16 })));
    expect(config.attentionScale).toBeCloseTo(1 / Math.sqrt(168), 12);
  });

  test("refuses windows that no layer looks beyond, and windows of nothing", async () => {
    await expect(readModelConfig(source(gemma({ "gemma3.block_count": 5 })))).rejects.toMatchObject({
      code: "MODEL_UNSUPPORTED",
    });
    const empty = source(gemma({ "gemma3.attention.sliding_window": 0 }));
    await expect(readModelConfig(empty)).rejects.toMatchObject({ code: "MODEL_CORRUPT" });
  });
});

/** Gemma's keys, changed. */
function gemma(change: Record<string, number>): Record<string, string | number> {
  const sizes = Object.entries(VALUES).filter(([, value]) => typeof value === "number");
  return {
    ...Object.fromEntries(sizes.map(([key, value]) => [key.replace("qwen2.", "gemma3."), value as number])),
    "general.architecture": "gemma3",
    "gemma3.attention.key_length": 64,
    "gemma3.attention.value_length": 64,
    "gemma3.attention.sliding_window": 512,
    ...change,
  };
}
