/**
 * The value refit on real weights: its queries, and that it brings a heavily
 * evicted context nearer to the whole one.
 */
import { keepRows, refitRows, resolveSpec, selectPairs } from "@kvault/compression";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RunLoop } from "./batching/run-loop.ts";
import { gatherScoreSource, inputsOf, prefillFor } from "./engine/score-source.ts";
import { fullLayer, type ModelRunner, type ResidentContext, residentContext } from "./index.ts";
import { greedyAnswers } from "./testing/greedy.ts";
import { readReferenceVectors } from "./testing/reference-vectors.ts";
import { openTestModel } from "./testing/test-model.ts";

describe("qwen2.5-coder-0.5b", () => {
  const reference = readReferenceVectors("qwen2.5-coder-0.5b");
  const { contextIds, prefixTokens } = reference;
  const prompt = { prefixIds: contextIds.slice(0, prefixTokens), contextIds: contextIds.slice(prefixTokens) };
  let runner: ModelRunner;

  beforeAll(async () => {
    runner = await openTestModel(reference.name, "int8");
  });
  afterAll(() => runner?.close());

  /** The context as `spec` leaves it; `undefined`: whole. */
  async function residentAs(spec: string | undefined): Promise<ResidentContext> {
    const plan = resolveSpec(spec ?? "none");
    const loop = new RunLoop();
    const context = await prefillFor(inputsOf(plan), loop, runner, prompt, {});
    const { source, queries } = await gatherScoreSource(inputsOf(plan), loop, runner, context, {});
    const selection = selectPairs(plan, source);
    const layers = [];
    for (let layer = 0; layer < runner.config.numLayers; layer++) {
      const dense = context.layer(layer);
      const kept = spec === undefined ? fullLayer(dense) : keepRows(selection, layer, dense);
      const refit = plan.refit && queries ? { stage: plan.refit, query_KMD: queries[layer] as Float32Array } : undefined;
      layers.push(refit ? await refitRows(refit.stage, dense, kept, refit.query_KMD, await runner.matMul()) : kept);
    }
    context.release();
    return residentContext(prompt.prefixIds.length + prompt.contextIds.length, layers);
  }

  /** Mean negative log-likelihood of `answer` after `question`. */
  async function surprise(resident: ResidentContext, question: Int32Array, answer: readonly number[]): Promise<number> {
    const batch = runner.openStepBatch(resident);
    const sequence = batch.add();
    let [logits_V] = await batch.run([{ sequence, ids: Array.from(question) }]);
    let sum = 0;
    for (const id of answer) {
      sum += logSumExp(logits_V as Float32Array) - (logits_V?.[id] as number);
      [logits_V] = await batch.run([{ sequence, ids: [id] }]);
    }
    batch.close();
    return sum / answer.length;
  }

  test("a refitted context expects the whole context's answer more than one that was only evicted", async () => {
    const question = runner.prompts.question("Summarise the text.");
    const whole = await residentAs(undefined);
    const [answer] = await greedyAnswers(runner.openStepBatch(whole), [question], 48, runner.tokens.endIds);
    const nll: Record<string, number> = {};
    for (const refit of ["", "refit(queries=own,m=500)|", "refit(queries=repeat,m=500)|", "refit(queries=both,m=500)|"]) {
      const resident = await residentAs(`kvzip|global|top-k(keep=0.15)|${refit}f32`);
      nll[refit] = await surprise(resident, question, answer as number[]);
    }
    if (process.env["KVAULT_REPORT"] !== undefined) console.info(nll);
    const { "": evicted, ...refitted } = nll;
    for (const [refit, value] of Object.entries(refitted)) expect(value, refit).toBeLessThan(evicted as number);
  });
});

function logSumExp(logits_V: Float32Array): number {
  let highest = Number.NEGATIVE_INFINITY;
  for (const logit of logits_V) highest = Math.max(highest, logit);
  let sum = 0;
  for (const logit of logits_V) sum += Math.exp(logit - highest);
  return highest + Math.log(sum);
}
