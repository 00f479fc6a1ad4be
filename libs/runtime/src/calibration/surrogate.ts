/**
 * Trains the surrogate: a linear map from the normed hidden state that enters a layer's
 * attention to the log of the KVzip score its pairs get, one per KV head.
 *
 * In the manner of KVzap (see docs/kvault-method.md for the evidence); closed-form ridge, so
 * the same texts give the same weights. Each text is read, repeated and read again: about
 * four times the cost of its prefill. Windowed layers, which are never scored, get zeros.
 *
 * @module
 */
import type { RepeatPass } from "@kvault/compression";
import { KvaultError } from "@kvault/core";
import { type ContextPrompt, globalLayers, type ModelConfig } from "@kvault/model";
import type { RunOptions, SurrogateWeights, TrainableRunner } from "../model-runner.ts";
import { emptySums, type NormalSums, solveRidge } from "./ridge.ts";

/** Scores below this count as this: a pair nobody looks at has no finite log. */
export const LOWEST_SCORE = 1e-6;

export interface SurrogateTraining {
  readonly prompts: readonly ContextPrompt[];
  readonly pass: RepeatPass;
  /** Ridge per row. */
  readonly lambda: number;
}

/** Weights from `training.prompts`; at least two context tokens in all. */
export async function trainSurrogate(
  runner: TrainableRunner,
  { prompts, pass, lambda }: SurrogateTraining,
  options: RunOptions,
): Promise<SurrogateWeights> {
  const { numLayers, numKvHeads, hiddenSize } = runner.config;
  const sums = Array.from({ length: numLayers }, () => emptySums(hiddenSize, numKvHeads));
  const { onProgress, ...quiet } = options;
  for (const [done, prompt] of prompts.entries()) {
    onProgress?.(done, prompts.length);
    const context = await runner.prefill(prompt, quiet);
    const { attention } = await runner.repeatPass(context, pass, quiet).finally(() => context.release());
    const targets = attention.map((score_KS) => score_KS.map((score) => Math.log(Math.max(score, LOWEST_SCORE))));
    await runner.addToFit(prompt, targets, sums, quiet);
  }
  onProgress?.(prompts.length, prompts.length);
  return solveSurrogate(sums, lambda, runner.config);
}

/** Weights from the summed normal equations of every layer. */
export function solveSurrogate(sums: readonly NormalSums[], lambda: number, config: ModelConfig): SurrogateWeights {
  const { numLayers, numKvHeads, hiddenSize } = config;
  const weight_LMK = new Float32Array(numLayers * hiddenSize * numKvHeads);
  const bias_LK = new Float32Array(numLayers * numKvHeads);
  for (const layer of globalLayers(config)) {
    const { weight, bias } = solveRidge(sums[layer], lambda);
    weight_LMK.set(weight, layer * hiddenSize * numKvHeads);
    bias_LK.set(bias, layer * numKvHeads);
  }
  return { weight_LMK, bias_LK };
}

/** Profile `surrogate` `[L, M + 1, K]`, its last row the constants. */
export function surrogateProfile({ weight_LMK, bias_LK }: SurrogateWeights, config: ModelConfig): Float32Array {
  const { numLayers: L, hiddenSize: M, numKvHeads: K } = config;
  const values = new Float32Array(L * (M + 1) * K);
  for (let l = 0; l < L; l++) {
    values.set(weight_LMK.subarray(l * M * K, (l + 1) * M * K), l * (M + 1) * K);
    values.set(bias_LK.subarray(l * K, (l + 1) * K), (l * (M + 1) + M) * K);
  }
  return values;
}

/** The inverse of {@link surrogateProfile}. MODEL_CORRUPT for a profile of another size than the model's. */
export function surrogateWeights(values: Float32Array | undefined, config: ModelConfig): SurrogateWeights {
  const { numLayers: L, hiddenSize: M, numKvHeads: K } = config;
  if (values?.length !== L * (M + 1) * K) {
    const found = values === undefined ? "none" : `${values.length} numbers`;
    throw new KvaultError("MODEL_CORRUPT", `Cannot use profile "surrogate": found ${found}, expected [${L}, ${M + 1}, ${K}]`);
  }
  const weight_LMK = new Float32Array(L * M * K);
  const bias_LK = new Float32Array(L * K);
  for (let l = 0; l < L; l++) {
    const at = l * (M + 1) * K;
    weight_LMK.set(values.subarray(at, at + M * K), l * M * K);
    bias_LK.set(values.subarray(at + M * K, at + (M + 1) * K), l * K);
  }
  return { weight_LMK, bias_LK };
}
