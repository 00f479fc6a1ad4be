/**
 * Every family on a tiny random model (tests/fixtures/tiny-models, published layout, odd sizes on
 * purpose): from a folder of safetensors and from a GGUF, our graphs give the logits that
 * transformers computed and those of the slow forward pass, however the tokens are cut into
 * chunks, contexts and steps.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { keepRows, resolveSpec, selectPairs } from "@kvault/compression";
import { toBeAllclose } from "@kvault/core/testing";
import { openWeights, weightsSha256 } from "@kvault/model";
import { asGguf } from "@kvault/model/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { withWindows } from "./engine/with-windows.ts";
import { fullLayer, type ModelRunner, residentContext } from "./index.ts";
import { openModelRunner } from "./onnx-model-runner.ts";
import { PREFILL_CHUNK_TOKENS } from "./prefill.ts";
import { referenceLogits } from "./testing/reference-transformer.ts";

expect.extend({ toBeAllclose });

const FAMILIES = new URL("../../model/src/families/", import.meta.url);
const FIXTURES = new URL("../../../tests/fixtures/tiny-models/", import.meta.url);
const families = readdirSync(FAMILIES)
  .filter((file) => file !== "family.ts")
  .map((file) => file.replace(/\.ts$/, ""));

/** Logits have a standard deviation of 1 to 2; what differs is f32 rounding. */
const CLOSE = { rtol: 0, atol: 5e-5 };

interface Stored {
  readonly ids: readonly number[];
  readonly half: number;
  readonly afterHalf: readonly number[];
  readonly afterAll: readonly number[];
}

test("every family has a tiny model", () => {
  expect(families.length).toBeGreaterThanOrEqual(4);
  for (const family of families) expect(existsSync(new URL(`${family}/logits.json`, FIXTURES)), family).toBe(true);
});

describe.each(families)("%s", (family) => {
  const folder = fileURLToPath(new URL(family, FIXTURES));
  const stored: Stored = JSON.parse(readFileSync(join(folder, "logits.json"), "utf8"));
  const { ids, half } = stored;
  let scratch: string;
  let ggufPath: string;
  let runner: ModelRunner;

  const open = async (modelPath: string): Promise<ModelRunner> =>
    openModelRunner({
      modelPath,
      weightsSha256: await weightsSha256(modelPath),
      cacheDir: scratch,
      activations: "f32",
      numThreads: 1,
    });
  const prompt = (tokens: readonly number[], prefix = 2) => ({
    prefixIds: Int32Array.from(tokens.slice(0, prefix)),
    contextIds: Int32Array.from(tokens.slice(prefix)),
  });
  const layersOf = ({ config }: ModelRunner): number[] => Array.from({ length: config.numLayers }, (_, layer) => layer);

  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), "kvault-tiny-"));
    ggufPath = join(scratch, "model.gguf");
    runner = await open(folder);
    const source = await openWeights(folder);
    await writeFile(ggufPath, await asGguf(source, runner.config.headDim));
    await source.close();
  });
  afterAll(async () => {
    await runner?.close();
    await rm(scratch, { recursive: true, force: true });
  });

  test("the slow forward pass gives the stored logits", async () => {
    const source = await openWeights(folder);
    const input = { ids, firstPosition: 0 };
    const logits = await referenceLogits(source, runner.config, input).finally(() => source.close());
    expect(logits).toBeAllclose(stored.afterAll, CLOSE);
  });

  test("a folder and a GGUF of the same numbers give the stored logits", async () => {
    const fromGguf = await open(ggufPath);
    // a GGUF keeps fractions as f32
    const { rmsEpsilon, ropeFactors, attentionScale, ...sizes } = runner.config;
    expect(fromGguf.config).toMatchObject(sizes);
    expect(fromGguf.config.rmsEpsilon).toBeCloseTo(rmsEpsilon, 12);
    expect(fromGguf.config.ropeFactors?.map(Math.fround)).toEqual(ropeFactors?.map(Math.fround));
    expect(fromGguf.config.attentionScale ?? 0).toBeCloseTo(attentionScale ?? 0, 6);
    for (const each of [runner, fromGguf]) {
      const context = await each.prefill(prompt(ids));
      expect(context.lastLogits_V).toBeAllclose(stored.afterAll, CLOSE);
      context.release();
    }
    await fromGguf.close();
  });

  test("chunk after chunk gives what one slow pass over everything gives", async () => {
    const many = Array.from({ length: PREFILL_CHUNK_TOKENS + 9 }, (_, i) => ids[i % ids.length] as number);
    const context = await runner.prefill(prompt(many));
    const source = await openWeights(folder);
    const input = { ids: many, firstPosition: 0 };
    const logits = await referenceLogits(source, runner.config, input).finally(() => source.close());
    expect(context.lastLogits_V).toBeAllclose(logits, CLOSE);
    context.release();
  });

  test("cached steps give the logits of the full pass, in one step or one by one, alone or in company", async () => {
    const context = await runner.prefill(prompt(ids.slice(0, half)));
    expect(context.lastLogits_V).toBeAllclose(stored.afterHalf, CLOSE);
    const layers = layersOf(runner).map((layer) => fullLayer(context.layer(layer)));
    const batch = runner.openStepBatch(residentContext(half, layers));
    const [alone, other] = [batch.add(), batch.add()];
    const rest = ids.slice(half);
    const [atOnce] = await batch.run([{ sequence: alone, ids: rest }]);
    expect(atOnce).toBeAllclose(stored.afterAll, CLOSE);
    const third = batch.add();
    await batch.run([
      { sequence: third, ids: rest.slice(0, 5) },
      { sequence: other, ids: [7, 8, 9] },
    ]);
    let logits: Float32Array | undefined;
    for (const id of rest.slice(5)) {
      [, logits] = await batch.run([
        { sequence: other, ids: [id, 3] },
        { sequence: third, ids: [id] },
      ]);
    }
    expect(logits).toBeAllclose(stored.afterAll, CLOSE);
    batch.close();
    context.release();
  });

  test("an evicted context gives the logits of masking what was evicted; windowed layers hold their window", async () => {
    const { config } = runner;
    const context = await runner.prefill(prompt(ids.slice(0, half)));
    const plan = resolveSpec("random(seed=3)|global|top-k(keep=0.4)|f32");
    const numScored = config.slidingWindow?.globalLayers.length ?? config.numLayers;
    const { numKvHeads, headDim } = config;
    const sizes = { numLayers: numScored, numKvHeads, headDim, seqLen: half, prefixTokens: 2 };
    const selection = withWindows(config, selectPairs(plan, { ...sizes, layer: (layer) => ({ layer, ...sizes }) }));
    const ragged = layersOf(runner).map((layer) => keepRows(selection, layer, context.layer(layer)));
    const isKept = (layer: number, k: number, s: number): boolean => {
      const { offset, position_n } = ragged[layer];
      return position_n.subarray(offset[k], offset[k + 1]).includes(s);
    };
    const source = await openWeights(folder);
    const masked = await referenceLogits(source, config, {
      ids: ids.slice(half),
      firstPosition: half,
      context: layersOf(runner).map((layer) => context.layer(layer)),
      visible: isKept,
    }).finally(() => source.close());
    const { slidingWindow } = config;
    for (const layer of layersOf(runner)) {
      if (slidingWindow === undefined || slidingWindow.globalLayers.includes(layer)) continue;
      const { tokens } = slidingWindow;
      const kept = [...ragged[layer].position_n.subarray(0, ragged[layer].offset[1])];
      expect(kept).toEqual(Array.from({ length: tokens }, (_, i) => half - tokens + i));
    }
    const batch = runner.openStepBatch(residentContext(half, ragged));
    const [evicted] = await batch.run([{ sequence: batch.add(), ids: ids.slice(half) }]);
    expect(evicted).toBeAllclose(masked, CLOSE);
    batch.close();
    context.release();
  });

  test("the repeat pass and the window's attention score the layers that see everything, and leave the cache as it was", async () => {
    const { config } = runner;
    const scored = new Set(config.slidingWindow?.globalLayers ?? layersOf(runner));
    const context = await runner.prefill({ ...prompt(ids) }, { momentsFrom: 4 });
    const before = layersOf(runner).map((layer) => context.layer(layer).key_KSD);
    const pass = resolveSpec("kvzip(chunk=16)|global|top-k(keep=0.4)|f32").scorer.repeatPass;
    if (pass === undefined) throw new Error("kvzip asks for a repeat pass");
    const { attention: repeat } = await runner.repeatPass(context, pass);
    const window = await runner.windowAttention(context, 4);
    for (const layer of layersOf(runner)) {
      const { numKvHeads, numQueryHeads } = config;
      expect(repeat[layer]).toHaveLength(scored.has(layer) ? numKvHeads * ids.length : 0);
      expect(window[layer]).toHaveLength(scored.has(layer) ? numQueryHeads * ids.length : 0);
      if (scored.has(layer)) {
        expect(Math.max(...repeat[layer])).toBeGreaterThan(0);
        const total = window[layer].reduce((sum, each) => sum + each, 0);
        expect(total).toBeCloseTo(4 * numQueryHeads, 3);
      }
      expect(context.layer(layer).key_KSD).toEqual(before[layer]);
    }
    context.release();
  });

  test("a window of all tokens, or of more than there are, has a row for each, the first one's on itself", async () => {
    const { config } = runner;
    const context = await runner.prefill({ ...prompt(ids) });
    const [layer] = config.slidingWindow?.globalLayers ?? layersOf(runner);
    const [all, more, butFirst] = [ids.length, Number.POSITIVE_INFINITY, ids.length - 1].map((tokens) =>
      runner.windowAttention(context, tokens),
    );
    const [sum_HS, rest_HS] = [(await all)[layer], (await butFirst)[layer]];
    expect((await more)[layer]).toEqual(sum_HS);
    const firstRow = Float32Array.from(sum_HS, (_, i) => (i % ids.length === 0 ? 1 : 0));
    expect(sum_HS).toBeAllclose(
      rest_HS.map((sum, i) => sum + firstRow[i]),
      CLOSE,
    );
    context.release();
  });
});
