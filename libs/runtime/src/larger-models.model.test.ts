/**
 * The catalogue's larger models on their real weights, where their files are here: sensible
 * answers, and steps on a cached context equal to reading everything at once.
 */
import { keepRows, resolveSpec, selectPairs } from "@kvault/compression";
import { cosine } from "@kvault/core/testing";
import { isTestModelHere } from "@kvault/model/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { withWindows } from "./engine/with-windows.ts";
import { fullLayer, type ModelRunner, residentContext } from "./index.ts";
import { argmax, greedyAnswers } from "./testing/greedy.ts";
import { readReferenceVectors } from "./testing/reference-vectors.ts";
import { openTestModel } from "./testing/test-model.ts";

const CASES = [
  // a base model without a chat template: it continues "<bos>…\n\nAnswer:"
  { name: "gemma-3-270m", text: "Paris is the capital of France. Rome is the capital of", question: "", answer: /Italy/ },
  {
    name: "qwen2.5-coder-1.5b",
    text: "The launch code of the ship is 4711.\n",
    question: "What is the launch code?",
    answer: /4711/,
  },
] as const;

/** More than the longest window. */
const CONTEXT_TOKENS = 700;
const SUFFIX_TOKENS = 24;

describe.each(CASES)("$name", async ({ name, text, question, answer }) => {
  const isHere = await isTestModelHere(name);

  describe.runIf(isHere)("on its real weights", () => {
    let runner: ModelRunner;

    beforeAll(async () => {
      runner = await openTestModel(name, "f32");
    });
    afterAll(() => runner?.close());

    const layersOf = (): number[] => Array.from({ length: runner.config.numLayers }, (_, layer) => layer);

    test("answers sensibly", async () => {
      const prompt = runner.prompts.context({ text });
      // what follows a base model's text would be a cue to answer; it is to go on instead
      const ids = question === "" ? prompt.contextIds.slice(-1) : runner.prompts.question(question);
      const contextIds = question === "" ? prompt.contextIds.slice(0, -1) : prompt.contextIds;
      const context = await runner.prefill({ prefixIds: prompt.prefixIds, contextIds });
      const layers = layersOf().map((layer) => fullLayer(context.layer(layer)));
      const batch = runner.openStepBatch(residentContext(context.seqLen, layers));
      const [answered = []] = await greedyAnswers(batch, [ids], 12, runner.tokens.endIds);
      expect(Buffer.concat(answered.map((id) => runner.tokens.bytesOf(id))).toString()).toMatch(answer);
      batch.close();
      context.release();
    });

    test("steps on a cached context give what reading everything at once gives", async () => {
      const { context: long } = readReferenceVectors("qwen2.5-coder-0.5b");
      const { prefixIds, contextIds } = runner.prompts.context({ text: `${long}\n${long}` });
      const all = contextIds.slice(0, CONTEXT_TOKENS + SUFFIX_TOKENS);
      expect(all).toHaveLength(CONTEXT_TOKENS + SUFFIX_TOKENS);
      const whole = await runner.prefill({ prefixIds, contextIds: all });
      const expected = whole.lastLogits_V;
      whole.release();
      const context = await runner.prefill({ prefixIds, contextIds: all.slice(0, CONTEXT_TOKENS) });
      const plan = resolveSpec("none|global|top-k(keep=1)|f32");
      const { numLayers, numKvHeads, headDim, slidingWindow } = runner.config;
      const sizes = {
        numLayers: slidingWindow?.globalLayers.length ?? numLayers,
        ...{ numKvHeads, headDim, seqLen: context.seqLen, prefixTokens: prefixIds.length },
      };
      const selection = withWindows(runner.config, selectPairs(plan, { ...sizes, layer: (layer) => ({ layer, ...sizes }) }));
      const layers = layersOf().map((layer) => keepRows(selection, layer, context.layer(layer)));
      const batch = runner.openStepBatch(residentContext(context.seqLen, layers));
      const sequence = batch.add();
      const rest = [...all.slice(CONTEXT_TOKENS)];
      await batch.run([{ sequence, ids: rest.slice(0, -2) }]);
      await batch.run([{ sequence, ids: rest.slice(-2, -1) }]);
      const [logits] = await batch.run([{ sequence, ids: rest.slice(-1) }]);
      expect(argmax(logits)).toBe(argmax(expected));
      expect(cosine(logits, expected)).toBeGreaterThan(0.99999);
      const worst = logits.reduce((most, logit, v) => Math.max(most, Math.abs(logit - expected[v])), 0);
      expect(worst).toBeLessThan(0.01);
      batch.close();
      context.release();
    });
  });
});
