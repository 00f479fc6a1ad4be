/**
 * A surrogate trained on one half of a real text predicts KVzip's scores on the other, inside
 * the prefill that reads it.
 */
import { readFileSync } from "node:fs";
import { resolveSpec } from "@kvault/compression";
import { spearman } from "@kvault/core/testing";
import { expect, test } from "vitest";
import { openTestModel } from "../testing/test-model.ts";
import { trainSurrogate } from "./surrogate.ts";

const TEXT = new URL("../../../../cli/assets/opticks.txt", import.meta.url);
const TRAINING_TOKENS = 1_500;
const HELD_OUT_TOKENS = 500;

test("a surrogate ranks pairs of a text it has not seen as the repeat pass does, better than chance by far", async () => {
  const runner = await openTestModel("smollm2-135m", "int8");
  const { repeatPass: pass } = resolveSpec("kvzip");
  if (pass === undefined) throw new Error("kvzip asks for a repeat pass");
  const { prefixIds, contextIds } = runner.prompts.context({ text: readFileSync(TEXT, "utf8") });
  const training = { prefixIds, contextIds: contextIds.slice(0, TRAINING_TOKENS) };
  const heldOut = { prefixIds, contextIds: contextIds.slice(TRAINING_TOKENS, TRAINING_TOKENS + HELD_OUT_TOKENS) };
  const surrogate = await trainSurrogate(runner, { prompts: [training], pass, lambda: 1e-1 }, {});
  const context = await runner.prefill(heldOut, { surrogate });
  const { attention } = await runner.repeatPass(context, pass);
  const { numKvHeads } = runner.config;
  const correlations = attention.flatMap((score_KS, layer) =>
    Array.from({ length: numKvHeads }, (_, k) => {
      const span = [k * context.seqLen + prefixIds.length, (k + 1) * context.seqLen] as const;
      return spearman(score_KS.subarray(...span), context.surrogate?.[layer]?.subarray(...span) ?? []);
    }),
  );
  const mean = correlations.reduce((sum, one) => sum + one, 0) / correlations.length;
  if (process.env["KVAULT_REPORT"] !== undefined) console.info(`surrogate: mean rank correlation ${mean.toFixed(3)}`);
  expect(mean).toBeGreaterThan(0.4);
  await runner.close();
});
