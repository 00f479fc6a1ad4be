/**
 * Attention on a shared, ragged context: equal to masking, independent of who else is in the
 * batch and of what was asked before, on real weights.
 */
import { codecFromSpec, decodeLayer, encodeLayer, keepRows, resolveSpec, selectPairs } from "@kvault/compression";
import { createRng, gatherRagged, type RaggedLayerKv } from "@kvault/core";
import { toBeAllclose } from "@kvault/core/testing";
import { openGguf } from "@kvault/model";
import { testModelPath } from "@kvault/model/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fullLayer, type ModelRunner, type PrefilledContext, type ResidentContext, residentContext } from "./index.ts";
import { greedyAnswers } from "./testing/greedy.ts";
import { referenceLogits } from "./testing/reference-transformer.ts";
import { readReferenceVectors } from "./testing/reference-vectors.ts";
import { openTestModel } from "./testing/test-model.ts";

expect.extend({ toBeAllclose });

describe("smollm2-135m against the slow forward pass", () => {
  const reference = readReferenceVectors("smollm2-135m");
  const contextIds = reference.contextIds.slice(0, 48);
  const prefixTokens = reference.prefixTokens;
  const questionIds = [...(reference.questionIds[0] as Int32Array)].slice(0, 5);
  let runner: ModelRunner;
  let context: PrefilledContext;

  beforeAll(async () => {
    runner = await openTestModel(reference.name, "f32");
    context = await runner.prefill({ prefixIds: contextIds.slice(0, prefixTokens), contextIds: contextIds.slice(prefixTokens) });
  });
  afterAll(() => runner?.close());

  /** A random third of every head's positions, a different one in each. */
  function randomThird(): boolean[][] {
    const rng = createRng(7);
    const { numLayers, numKvHeads } = runner.config;
    return Array.from({ length: numLayers * numKvHeads }, () =>
      Array.from({ length: context.seqLen }, (_, s) => s === 0 || rng.next() < 1 / 3),
    );
  }

  test("evicting pairs gives the logits of masking them", async () => {
    const { config } = runner;
    const visible_LK = randomThird();
    const dense = Array.from({ length: config.numLayers }, (_, layer) => context.layer(layer));
    const ragged = dense.map((layer, l) => {
      const offset = new Uint32Array(config.numKvHeads + 1);
      const positions: number[] = [];
      for (let k = 0; k < config.numKvHeads; k++) {
        const row = visible_LK[l * config.numKvHeads + k] as boolean[];
        for (const [s, kept] of row.entries()) if (kept) positions.push(s);
        offset[k + 1] = positions.length;
      }
      return gatherRagged(layer, offset, Uint32Array.from(positions));
    });
    const gguf = await openGguf(await testModelPath(reference.name));
    const masked = await referenceLogits(gguf, config, {
      ids: questionIds,
      firstPosition: context.seqLen,
      context: dense,
      visible: (layer, k, s) => (visible_LK[layer * config.numKvHeads + k] as boolean[])[s] as boolean,
    }).finally(() => gguf.close());
    const batch = runner.openStepBatch(residentContext(context.seqLen, ragged));
    const [evicted] = await batch.run([{ sequence: batch.add(), ids: questionIds }]);
    expect(evicted as Float32Array).toBeAllclose(masked, { rtol: 0, atol: 1e-3 });
  });

  test("a head that keeps nothing reads only the question", async () => {
    const layers = Array.from({ length: runner.config.numLayers }, (_, l): RaggedLayerKv => {
      const full = fullLayer(context.layer(l));
      if (l !== 3) return full;
      const { numKvHeads } = runner.config;
      const offset = Uint32Array.from({ length: numKvHeads + 1 }, (_, k) => Math.max(0, k - 1) * context.seqLen);
      const positions = Uint32Array.from({ length: (numKvHeads - 1) * context.seqLen }, (_, i) => i % context.seqLen);
      return gatherRagged(context.layer(l), offset, positions);
    });
    const batch = runner.openStepBatch(residentContext(context.seqLen, layers));
    const [logits] = await batch.run([{ sequence: batch.add(), ids: questionIds }]);
    expect((logits as Float32Array).every(Number.isFinite)).toBe(true);
  });

  test("reading a question in pieces gives the logits of reading it at once", async () => {
    const resident = residentContext(
      context.seqLen,
      Array.from({ length: runner.config.numLayers }, (_, l) => fullLayer(context.layer(l))),
    );
    const batch = runner.openStepBatch(resident);
    const whole = batch.add();
    const pieces = batch.add();
    const [atOnce] = (await batch.run([{ sequence: whole, ids: questionIds }])).map((row) => row.slice());
    await batch.run([{ sequence: pieces, ids: questionIds.slice(0, 2) }]);
    const [inPieces] = await batch.run([{ sequence: pieces, ids: questionIds.slice(2) }]);
    expect(inPieces as Float32Array).toBeAllclose(atOnce as Float32Array, { rtol: 0, atol: 1e-3 });
  });
});

describe("qwen2.5-coder-0.5b", () => {
  const reference = readReferenceVectors("qwen2.5-coder-0.5b");
  const { contextIds, prefixTokens, questionIds } = reference;
  const seqLen = contextIds.length;
  let runner: ModelRunner;
  let context: PrefilledContext;
  let full: ResidentContext;

  beforeAll(async () => {
    runner = await openTestModel(reference.name, "int8");
    context = await runner.prefill({ prefixIds: contextIds.slice(0, prefixTokens), contextIds: contextIds.slice(prefixTokens) });
    full = residentContext(
      seqLen,
      Array.from({ length: runner.config.numLayers }, (_, l) => fullLayer(context.layer(l))),
    );
  });
  afterAll(() => runner?.close());

  const answer = (resident: ResidentContext, questions: readonly ArrayLike<number>[]): Promise<number[][]> => {
    const batch = runner.openStepBatch(resident);
    return greedyAnswers(batch, questions, 16, runner.tokens.endIds).finally(() => batch.close());
  };

  test("a context kept whole answers as the uncompressed one, through parts and codec", async () => {
    const { numLayers, numKvHeads, headDim } = runner.config;
    const plan = resolveSpec("kvzip(chunk=2000)|global|top-k(keep=1)|f16");
    const selection = selectPairs(plan, {
      ...{ numLayers, numKvHeads, headDim, seqLen, prefixTokens },
      layer: () => {
        throw new Error("nothing is scored when everything is kept");
      },
    });
    const stored = Array.from({ length: numLayers }, (_, l) => {
      const parts = encodeLayer(codecFromSpec("f16"), keepRows(selection, l, context.layer(l)));
      return decodeLayer("f16", parts, { numKvHeads, headDim, seqLen });
    });
    expect(await answer(residentContext(seqLen, stored), questionIds)).toEqual(await answer(full, questionIds));
  });

  test("query B after query A gives the logits of B alone", async () => {
    const [questionA, questionB] = questionIds.map((ids) => [...ids]) as [number[], number[]];
    const logitsOf = async (before: readonly number[][]): Promise<Float32Array> => {
      const batch = runner.openStepBatch(full);
      for (const ids of before) {
        const sequence = batch.add();
        await batch.run([{ sequence, ids }]);
        batch.remove(sequence);
      }
      const [logits] = await batch.run([{ sequence: batch.add(), ids: questionB }]);
      return (logits as Float32Array).slice();
    };
    expect(await logitsOf([questionA])).toEqual(await logitsOf([]));
  });

  test("sixteen queries together give the tokens of each alone", async () => {
    const questions = Array.from({ length: 16 }, (_, i) => {
      const name = ["amber", "basil", "cedar", "delta"][i % 4];
      const phrasings = [
        "What is the secret number of",
        "Tell me the secret number of",
        "Which secret number has",
        "Give the secret number of",
      ];
      return runner.prompts.question(`${phrasings[i >> 2]} ${name}? Answer with the number only.`);
    });
    const together = await answer(full, questions);
    for (const [i, question] of questions.entries()) {
      expect((await answer(full, [question]))[0], `question ${i}`).toEqual(together[i]);
    }
  });

  test("sequences that join and leave at any step do not change each other", async () => {
    const alone = await answer(full, questionIds);
    const batch = runner.openStepBatch(full);
    const first = batch.add();
    await batch.run([{ sequence: first, ids: [...(questionIds[1] as Int32Array)] }]);
    const second = batch.add();
    await batch.run([{ sequence: second, ids: [...(questionIds[2] as Int32Array)] }]);
    batch.remove(first);
    expect(await greedyAnswers(batch, questionIds, 16, runner.tokens.endIds)).toEqual(alone);
    expect(batch.size).toBe(1);
  });
});
