import { cp, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readModelConfig } from "../config.ts";
import { dequantise } from "../dequant/registry.ts";
import { identityOf, loadTokenizer } from "../tokenizer/load-tokenizer.ts";
import { openWeights, weightsSha256 } from "./open-weights.ts";
import { openSafetensorsFolder } from "./safetensors-folder.ts";

const TINY = new URL("../../../../tests/fixtures/tiny-models/", import.meta.url);
const tiny = (family: string): string => fileURLToPath(new URL(family, TINY));
let scratch: string;

/** A copy of a tiny model to damage. */
async function copyOf(family: string): Promise<string> {
  const folder = join(scratch, family);
  await cp(tiny(family), folder, { recursive: true });
  return folder;
}

async function changeJson(path: string, change: (json: Record<string, unknown>) => void): Promise<void> {
  const json = JSON.parse(await readFile(path, "utf8"));
  change(json);
  await writeFile(path, JSON.stringify(json));
}

beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), "folder-"));
});
afterEach(() => rm(scratch, { recursive: true }));

describe("openSafetensorsFolder()", () => {
  test("gives GGUF names and shapes over several shards", async () => {
    const source = await openSafetensorsFolder(tiny("llama"));
    expect(source.tensors.get("blk.1.attn_q.weight")).toMatchObject({ type: "bf16", shape: [64, 256] });
    expect(source.tensors.get("output.weight")).toMatchObject({ shape: [64, 288] });
    expect(source.tensors.get("rope_freqs.weight")).toMatchObject({ type: "f32", shape: [32] });
    expect([...source.tensors.keys()].every((name) => !name.startsWith("model."))).toBe(true);
    await source.close();
    await source.close();
  });

  test("reads rows alone as in the whole matrix", async () => {
    const source = await openSafetensorsFolder(tiny("qwen2"));
    const whole = await source.readTensor("blk.0.ffn_up.weight");
    const rows = await source.readTensor("blk.0.ffn_up.weight", { first: 7, count: 3 });
    const rowBytes = 128 * 2;
    expect(rows).toEqual(whole.slice(7 * rowBytes, 10 * rowBytes));
    await expect(async () => source.readTensor("blk.0.ffn_up.weight", { first: 95, count: 2 })).rejects.toThrow(RangeError);
    await source.close();
  });

  test("adds Gemma's one to its norms, and to nothing else", async () => {
    const source = await openSafetensorsFolder(tiny("gemma3"));
    const norm = dequantise("f32", await source.readTensor("blk.0.attn_q_norm.weight"));
    expect(norm).toHaveLength(64);
    for (const value of norm) expect(Math.abs(value - 1)).toBeLessThanOrEqual(0.25);
    expect(source.tensors.get("blk.0.post_attention_norm.weight")).toMatchObject({ type: "f32", shape: [64] });
    expect(source.tensors.get("blk.0.ffn_norm.weight")).toMatchObject({ shape: [64] });
    expect(source.tensors.has("output.weight")).toBe(false);
    await source.close();
  });

  test("ignores an output matrix where embeddings are tied", async () => {
    const folder = await copyOf("llama");
    await changeJson(join(folder, "config.json"), (json) => {
      json["tie_word_embeddings"] = true;
    });
    const source = await openSafetensorsFolder(folder);
    expect(source.tensors.has("output.weight")).toBe(false);
    await source.close();
  });

  test("finds the decoder of a multimodal configuration", async () => {
    const folder = await copyOf("gemma3");
    await changeJson(join(folder, "config.json"), (json) => {
      const text = { ...json };
      for (const key of Object.keys(json)) delete json[key];
      // what Gemma's own files leave out
      for (const key of ["rms_norm_eps", "tie_word_embeddings", "max_position_embeddings"]) delete text[key];
      Object.assign(json, { model_type: "gemma3", text_config: text, vision_config: {} });
    });
    const source = await openSafetensorsFolder(folder);
    expect(await readModelConfig(source)).toMatchObject({
      architecture: "gemma3",
      numLayers: 4,
      rmsEpsilon: 1e-6,
      maxTokens: 131_072,
    });
    await source.close();
  });

  test("reads prompts and end tokens", async () => {
    const source = await openSafetensorsFolder(tiny("qwen3"));
    const { prompts, tokens } = loadTokenizer(source);
    const { prefixIds, contextIds } = prompts.context({ text: "the" });
    const textOf = (ids: Int32Array): string => Buffer.concat(Array.from(ids, (id) => tokens.bytesOf(id))).toString();
    expect(prefixIds[0]).toBe(1);
    expect(textOf(prefixIds)).toBe("user: ");
    expect(textOf(contextIds)).toBe("the");
    expect(contextIds).toHaveLength(1);
    expect(textOf(prompts.postfixIds)).toBe("\nassistant:");
    expect([...tokens.endIds]).toEqual([2]);
    const identity = identityOf(source, await readModelConfig(source), await weightsSha256(tiny("qwen3")));
    expect(identity).toMatchObject({ rope: "rope(theta=1000000,dim=128)" });
    await source.close();
  });

  test.each([
    ["quantised weights", "quantization_config", { bits: 4 }],
    ["biases we do not add", "attention_bias", true],
    ["another activation", "hidden_act", "relu"],
    ["a rotation we do not build", "rope_parameters", { rope_type: "yarn", factor: 4, rope_theta: 1e4 }],
    ["logits that are capped", "final_logit_softcapping", 30],
    ["a model type without a family", "model_type", "mamba2"],
  ])("refuses %s", async (_, key, value) => {
    const folder = await copyOf("llama");
    await changeJson(join(folder, "config.json"), (json) => {
      json[key] = value;
    });
    const config = async (): Promise<unknown> => {
      const source = await openSafetensorsFolder(folder);
      return readModelConfig(source).finally(() => source.close());
    };
    await expect(config()).rejects.toMatchObject({ code: "MODEL_UNSUPPORTED" });
  });

  test.each(["config.json", "tokenizer.json", "model-00002-of-00002.safetensors"])("says that %s is missing", async (file) => {
    const folder = await copyOf("llama");
    await rm(join(folder, file));
    await expect(openSafetensorsFolder(folder)).rejects.toMatchObject({
      code: "MODEL_UNAVAILABLE",
      message: expect.stringContaining(file),
    });
  });

  test("does without tokenizer_config.json", async () => {
    const folder = await copyOf("qwen2");
    await rm(join(folder, "tokenizer_config.json"));
    const source = await openSafetensorsFolder(folder);
    expect(loadTokenizer(source).prompts.context({ text: "a" }).prefixIds).toHaveLength(0);
    await source.close();
  });

  test("refuses a shard that is cut, a directory that lies, and an index that leads elsewhere", async () => {
    const folder = await copyOf("llama");
    const shard = join(folder, "model-00001-of-00002.safetensors");
    const bytes = await readFile(shard);
    for (const length of [0, 5, 100, bytes.byteLength - 1]) {
      await writeFile(shard, bytes);
      await truncate(shard, length);
      await expect(openSafetensorsFolder(folder), `${length} bytes`).rejects.toMatchObject({ code: "MODEL_CORRUPT" });
    }
    await writeFile(shard, bytes);
    await changeJson(join(folder, "model.safetensors.index.json"), (json) => {
      json["weight_map"] = { "lm_head.weight": "../../etc/passwd" };
    });
    await expect(openSafetensorsFolder(folder)).rejects.toMatchObject({ code: "MODEL_CORRUPT" });
  });
});

describe("weightsSha256()", () => {
  test("depends on every weight file and its name, not on where the folder is or on its tokenizer", async () => {
    const folder = await copyOf("llama");
    const digest = await weightsSha256(tiny("llama"));
    await changeJson(join(folder, "tokenizer_config.json"), (json) => {
      json["chat_template"] = "";
    });
    expect(await weightsSha256(folder)).toBe(digest);
    await changeJson(join(folder, "config.json"), (json) => {
      json["rms_norm_eps"] = 1e-5;
    });
    expect(await weightsSha256(folder)).not.toBe(digest);
  });

  test("of a path where nothing is: MODEL_UNAVAILABLE", async () => {
    await expect(weightsSha256(join(scratch, "nothing"))).rejects.toMatchObject({ code: "MODEL_UNAVAILABLE" });
    await expect(openWeights(join(scratch, "nothing"))).rejects.toMatchObject({ code: "MODEL_UNAVAILABLE" });
  });
});
