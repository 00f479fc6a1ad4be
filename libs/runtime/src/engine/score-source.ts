/**
 * What a scorer is given: gathered while the context is read and in passes after it, each
 * reduced inside its graph. Nothing is gathered that was not asked for. Scorers, allocators and
 * selectors see the layers that see the whole context, numbered from 0, and no others.
 *
 * @module
 */
import type { CompressionPlan, Scorer, ScorerNeed, ScoreSource } from "@kvault/compression";
import { KvaultError } from "@kvault/core";
import { type ContextPrompt, globalLayers, ropeFrequencies } from "@kvault/model";
import type { RunLoop } from "../batching/run-loop.ts";
import type { ModelRunner, PrefilledContext, RunOptions } from "../model-runner.ts";

/** The part of a scorer that says what it must be given. */
export type ScorerInputs = Pick<Scorer, "needs" | "repeatPass" | "windowTokens" | "momentsFrom" | "profile">;

type Watch = Pick<RunOptions, "signal" | "onProgress">;

const GATHERED: ReadonlySet<ScorerNeed> = new Set(["keys", "values", "repeat-attention", "window-attention", "query-moments"]);

/** What a plan's scorer must be given: nothing where every pair is kept. MODEL_UNSUPPORTED for what needs a calibration. */
export function inputsOf(plan: CompressionPlan): ScorerInputs {
  const [profile] = plan.profiles;
  if (profile !== undefined) throw notCalibrated(profile);
  return plan.evicts ? plan.scorer : { needs: new Set() };
}

/** Reads the context, observing on the way what `inputs` asks for. */
export async function prefillFor(
  inputs: ScorerInputs,
  loop: RunLoop,
  runner: ModelRunner,
  prompt: ContextPrompt,
  watch: Watch,
): Promise<PrefilledContext> {
  for (const need of inputs.needs) if (!GATHERED.has(need)) throw notCalibrated(need);
  if (inputs.profile !== undefined) throw notCalibrated(inputs.profile);
  const { momentsFrom } = inputs;
  const observe = momentsFrom === undefined ? {} : { momentsFrom };
  return loop.longWork((options) => runner.prefill(prompt, { ...options, ...observe }), watch);
}

/** Makes the passes that `inputs` asks for over what {@link prefillFor} read. */
export async function gatherScoreSource(
  inputs: ScorerInputs,
  loop: RunLoop,
  runner: ModelRunner,
  context: PrefilledContext,
  watch: Watch,
): Promise<ScoreSource> {
  const { repeatPass, windowTokens, needs } = inputs;
  const repeatAttention =
    repeatPass && (await loop.longWork((options) => runner.repeatPass(context, repeatPass, options), watch));
  const windowAttention =
    windowTokens === undefined
      ? undefined
      : await loop.longWork((options) => runner.windowAttention(context, windowTokens, options), watch);
  const { numKvHeads, headDim, numQueryHeads } = runner.config;
  const layers = globalLayers(runner.config);
  const sizes = {
    numLayers: layers.length,
    numKvHeads,
    headDim,
    seqLen: context.seqLen,
    prefixTokens: context.prompt.prefixIds.length,
  };
  const { moments } = context;
  return {
    ...sizes,
    layer(index) {
      const layer = layers[index];
      const dense = needs.has("keys") || needs.has("values") ? context.layer(layer) : undefined;
      return {
        layer: index,
        ...sizes,
        numQueryHeads,
        ...(dense && needs.has("keys") ? { key_KSD: dense.key_KSD } : {}),
        ...(dense && needs.has("values") ? { value_KSD: dense.value_KSD } : {}),
        ...(repeatAttention ? { repeatAttention_KS: repeatAttention[layer] } : {}),
        ...(windowAttention ? { windowAttention_HS: windowAttention[layer] } : {}),
        ...(moments ? { queryMean_HD: moments[layer].mean_HD, queryCovariance_HDD: moments[layer].covariance_HDD } : {}),
        ...(moments ? { ropeFrequencies: ropeFrequencies(runner.config, layer) } : {}),
      };
    },
  };
}

function notCalibrated(what: string): KvaultError {
  return new KvaultError("MODEL_UNSUPPORTED", `Cannot score: the method needs "${what}", for which the model is not calibrated`, {
    details: { need: what },
  });
}
