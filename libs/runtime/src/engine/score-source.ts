/**
 * What a scorer is given: gathered while the context is read and in passes after it, each
 * reduced inside its graph. Nothing is gathered that was not asked for. Scorers, allocators and
 * selectors see the layers that see the whole context, numbered from 0, and no others.
 *
 * @module
 */
import type { CompressionPlan, ModelProfile, Refit, Scorer, ScoreSource } from "@kvault/compression";
import { type ContextPrompt, globalLayers, ropeFrequencies } from "@kvault/model";
import type { RunLoop } from "../batching/run-loop.ts";
import { surrogateWeights } from "../calibration/surrogate.ts";
import type { ModelRunner, PrefillCheckpoints, PrefilledContext, RunOptions } from "../model-runner.ts";
import { joinQueries } from "../query-sampler.ts";

/** The part of a scorer that says what it must be given. */
type ScorerInputs = Pick<Scorer, "needs" | "repeatPass" | "windowTokens" | "momentsFrom">;

/** What a build gathers: a scorer's arrays, and queries for the refit. */
export interface GatherInputs extends ScorerInputs {
  readonly refit?: Pick<Refit, "queries" | "numQueries"> | undefined;
  /** The measurements of the model that it rests on. */
  readonly measured?: ModelProfile;
}

/** What was gathered. */
export interface Gathered {
  readonly source: ScoreSource;
  /** Per layer `[kvHead, m, headDim]`, where a refit asked for them. */
  readonly queries?: readonly Float32Array[] | undefined;
}

type Watch = Pick<RunOptions, "signal" | "onProgress">;

/** What a plan's scorer must be given: nothing where nothing is scored. `measured` holds what {@link CompressionPlan.profiles} names. */
export function inputsOf(plan: CompressionPlan, measured: ModelProfile = {}): GatherInputs {
  const { needs, repeatPass, refit, scorer } = plan;
  const { windowTokens, momentsFrom } = scorer;
  return {
    needs,
    ...(repeatPass === undefined ? {} : { repeatPass }),
    ...(windowTokens !== undefined && needs.has("window-attention") ? { windowTokens } : {}),
    ...(momentsFrom !== undefined && needs.has("query-moments") ? { momentsFrom } : {}),
    refit,
    measured,
  };
}

/** Reads the context, observing on the way what `inputs` asks for. */
export async function prefillFor(
  inputs: GatherInputs,
  loop: RunLoop,
  runner: ModelRunner,
  prompt: ContextPrompt,
  watch: Watch,
  checkpoints?: PrefillCheckpoints,
): Promise<PrefilledContext> {
  const { momentsFrom, needs, measured } = inputs;
  const numQueries = queriesOf(inputs, "own");
  const observe = {
    ...(momentsFrom === undefined ? {} : { momentsFrom }),
    ...(numQueries === undefined ? {} : { numQueries }),
    ...(needs.has("surrogate") ? { surrogate: surrogateWeights(measured?.surrogate, runner.config) } : {}),
  };
  const kept = checkpoints === undefined ? {} : { checkpoints };
  return loop.longWork((options) => runner.prefill(prompt, { ...options, ...observe, ...kept }), watch);
}

/** Makes the passes that `inputs` asks for over what {@link prefillFor} read. */
export async function gatherScoreSource(
  inputs: GatherInputs,
  loop: RunLoop,
  runner: ModelRunner,
  context: PrefilledContext,
  watch: Watch,
): Promise<Gathered> {
  const { repeatPass, windowTokens, needs, measured: profile = {} } = inputs;
  const numQueries = queriesOf(inputs, "repeat");
  const sampling = numQueries === undefined ? {} : { numQueries };
  const repeat =
    repeatPass && (await loop.longWork((options) => runner.repeatPass(context, repeatPass, { ...options, ...sampling }), watch));
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
  const { moments, surrogate } = context;
  const source: ScoreSource = {
    ...sizes,
    profile,
    layer(index) {
      const layer = layers[index];
      const dense = needs.has("keys") || needs.has("values") ? context.layer(layer) : undefined;
      return {
        layer: index,
        ...sizes,
        numQueryHeads,
        profile,
        ...(dense && needs.has("keys") ? { key_KSD: dense.key_KSD } : {}),
        ...(dense && needs.has("values") ? { value_KSD: dense.value_KSD } : {}),
        ...(repeat ? { repeatAttention_KS: repeat.attention[layer] } : {}),
        ...(windowAttention ? { windowAttention_HS: windowAttention[layer] } : {}),
        ...(surrogate ? { surrogate_KS: surrogate[layer] } : {}),
        ...(moments ? { queryMean_HD: moments[layer].mean_HD, queryCovariance_HDD: moments[layer].covariance_HDD } : {}),
        ...(moments ? { ropeFrequencies: ropeFrequencies(runner.config, layer) } : {}),
      };
    },
  };
  const [own, repeated] = [context.queries, repeat?.queries];
  return { source, queries: own && repeated ? joinQueries(own, repeated, runner.config) : (own ?? repeated) };
}

/** How many queries of a KV head the refit wants from the context's own pass or from the repeat pass. */
function queriesOf({ refit }: GatherInputs, pass: "own" | "repeat"): number | undefined {
  if (refit === undefined || (refit.queries !== pass && refit.queries !== "both")) return undefined;
  return refit.queries === "both" ? Math.ceil(refit.numQueries / 2) : refit.numQueries;
}
