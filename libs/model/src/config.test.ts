import { describe, expect, test } from "vitest";
import { parseModelConfig, ropeText } from "./config.ts";
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

const parse = (change: Record<string, string | number | undefined>, tensorNames: readonly string[] = []) => {
  const values = Object.fromEntries(Object.entries({ ...VALUES, ...change }).filter(([, value]) => value !== undefined));
  const tensors = new Map(
    tensorNames.map((name) => [name, { name, type: "f32", shape: [1], byteOffset: 0, byteLength: 4 }] as const),
  );
  return parseModelConfig({
    metadata: metadataOf(values as Record<string, string | number | string[]>),
    tensors,
  });
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

  test("refuses a rotation with its own frequencies", () => {
    expect(() => parse({}, ["rope_freqs.weight"])).toThrow(expect.objectContaining({ code: "MODEL_UNSUPPORTED" }));
  });
});

describe("ropeText()", () => {
  test("writes numbers one way only", () => {
    expect(ropeText({ ropeTheta: 1e6, headDim: 64 })).toBe("rope(theta=1000000,dim=64)");
  });
});
