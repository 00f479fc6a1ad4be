/**
 * Scorers on what our graphs reduce, against another implementation's scores (tests/fixtures).
 */
import { scoreLayers, scorerFromSpec } from "@kvault/compression";
import { spearman } from "@kvault/core/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RunLoop } from "./batching/run-loop.ts";
import { gatherScoreSource, prefillFor } from "./engine/score-source.ts";
import type { ModelRunner } from "./index.ts";
import { readReferenceVectors } from "./testing/reference-vectors.ts";
import { openTestModel } from "./testing/test-model.ts";

/** Our spec for each of the reference's scores. */
const METHODS = [
  { reference: "snapkv", spec: "snapkv(window=64,kernel=5)" },
  { reference: "tova", spec: "tova" },
  { reference: "expected_attention", spec: "expected-attention(epsilon=0.01)" },
  { reference: "keydiff", spec: "keydiff" },
  { reference: "lagkv", spec: "lagkv" },
  { reference: "knorm", spec: "l2norm" },
  { reference: "kvzip.chunk2048", spec: "kvzip(chunk=2048,form=kvpress)" },
  { reference: "kvzip.chunk256", spec: "kvzip(chunk=256,form=kvpress)" },
  { reference: "kvzip_plus.chunk2048", spec: "kvzip-plus(chunk=2048,form=kvpress)" },
] as const;

describe.each(["smollm2-135m", "qwen2.5-coder-0.5b"])("%s", (name) => {
  const reference = readReferenceVectors(name);
  const { contextIds, prefixTokens } = reference;
  const prompt = { prefixIds: contextIds.slice(0, prefixTokens), contextIds: contextIds.slice(prefixTokens) };
  const loop = new RunLoop();
  const watch = { signal: new AbortController().signal, onProgress: () => undefined };
  let runner: ModelRunner;

  beforeAll(async () => {
    runner = await openTestModel(name, "f32");
  });
  afterAll(() => runner?.close());

  test.each(METHODS)("$spec ranks as the reference's $reference", async ({ reference: method, spec }) => {
    const { scorer } = scorerFromSpec(spec);
    const context = await prefillFor(scorer, loop, runner, prompt, watch);
    const { source } = await gatherScoreSource(scorer, loop, runner, context, watch);
    const { score_LKS, seqLen, numLayers, numKvHeads } = scoreLayers({ scorer }, source);
    context.release();
    const expected = reference.score(method);
    let lowest = 1;
    for (let row = 0; row < numLayers * numKvHeads; row++) {
      const span = [row * seqLen, (row + 1) * seqLen] as const;
      lowest = Math.min(lowest, spearman(score_LKS.subarray(...span), expected.subarray(...span)));
    }
    if (process.env["KVAULT_REPORT"] !== undefined) console.info(`${name} ${spec}: lowest rank correlation ${lowest.toFixed(6)}`);
    expect(lowest).toBeGreaterThan(0.995);
  });
});
